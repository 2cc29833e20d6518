#!/usr/bin/python3
"""Lists the mutants of C files, from clang's own syntax tree.

usage: mutants.py SEED NAMED FILE... -- FLAGS     (ci/mutants.sh calls it)

One line a mutant, in an order drawn by SEED, or in that of the text when SEED is empty:

    id  kind  function  line  start  end  replacement  reason  name

parted by tabs. The mutant is the file with the bytes [start, end) replaced; the replacement is one
line, written as JSON. NAMED lists mutants that nothing can or need notice, with the reason: rows of
name and reason. A name is what stays when other lines change: file, function, text of the line, what
was there, what stands there now, and which of several such it is. What a macro's body says is left alone, and so are assertions: a weaker one
passes wherever the right one does. So are constants that fill a variable for a call to overwrite, the
comparison in `a < b ? a : b` with casts or without, more room in an array, what is said to sanitizers, which are not there,
and how numbers are joined to be mixed.
"""
import ctypes
import hashlib
import json
import os
import sys

from clang import cindex
from clang.cindex import CursorKind as Kind
from clang.cindex import TokenKind

# Operator to what stands in its place.
SWAPS = {
    "relational": {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "=="},
    "logical": {"&&": "||", "||": "&&"},
    "arithmetic": {"+": "-", "-": "+", "*": "/", "/": "*", "%": "/"},
    "bitwise": {"&": "|", "|": "&", "^": "|", "<<": ">>", ">>": "<<"},
    "assignment": {"+=": "-=", "-=": "+=", "*=": "/=", "/=": "*=", "|=": "&=", "&=": "|=",
                   "^=": "|=", "<<=": ">>=", ">>=": "<<="},
}
UNARY = {"!": "", "~": "", "-": "", "++": "--", "--": "++"}
ASSERTIONS = ("NTH_ASSERT", "assert", "static_assert")
SAID = ("nth_poison", "nth_unpoison", "nth_forget", "nth_block_hand_out", "nth_block_take_back",
        "nth_mark_guard")  # to sanitizers
MIXERS = ("nth_mix", "nth_seal_key")
TRUTHS = {"true": "false", "false": "true"}
CONDITIONS = (Kind.IF_STMT, Kind.WHILE_STMT, Kind.DO_STMT, Kind.FOR_STMT, Kind.CONDITIONAL_OPERATOR)
BODIES = (Kind.COMPOUND_STMT, Kind.IF_STMT, Kind.WHILE_STMT, Kind.DO_STMT, Kind.FOR_STMT,
          Kind.SWITCH_STMT, Kind.CASE_STMT, Kind.DEFAULT_STMT, Kind.LABEL_STMT)
DROPPED = (Kind.CALL_EXPR, Kind.BINARY_OPERATOR, Kind.COMPOUND_ASSIGNMENT_OPERATOR,
           Kind.UNARY_OPERATOR, Kind.CSTYLE_CAST_EXPR, Kind.RETURN_STMT, Kind.BREAK_STMT,
           Kind.CONTINUE_STMT, Kind.GOTO_STMT)


def file_offset(location):
    """Where a location stands in the text: for a macro's argument where it is written, for a macro's
    body where the macro is used. (cindex itself has the latter for both.)"""
    at, line, column, offset = cindex.c_object_p(), *(ctypes.c_uint() for _ in range(3))
    cindex.conf.lib.clang_getFileLocation(location, ctypes.byref(at), ctypes.byref(line),
                                          ctypes.byref(column), ctypes.byref(offset))
    return (cindex.File(at).name if at else None), line.value, offset.value


def without_cast(node):
    """The expression itself."""
    while node.kind in (Kind.CSTYLE_CAST_EXPR, Kind.UNEXPOSED_EXPR, Kind.PAREN_EXPR):
        node = list(node.get_children())[-1]
    return node


class Source:
    """One file, its macros, and its mutants."""

    def __init__(self, path, flags):
        self.path = path
        with open(path, "rb") as file:
            self.text = file.read()
        self.unit = cindex.Index.create().parse(
            path, args=flags, options=cindex.TranslationUnit.PARSE_DETAILED_PROCESSING_RECORD)
        errors = [d for d in self.unit.diagnostics if d.severity >= cindex.Diagnostic.Error]
        if errors:
            sys.exit(f"mutants.py: {path}: clang cannot read it: {errors[0].spelling}")
        self.macros = []  # (start, end of its name, end, name)
        for cursor in self.unit.cursor.get_children():
            if cursor.kind == Kind.MACRO_INSTANTIATION and self.is_here(cursor):
                start = cursor.extent.start.offset
                self.macros.append((start, start + len(cursor.spelling.encode()),
                                    cursor.extent.end.offset, cursor.spelling))
        self.filled = set()  # initial values of variables whose address is taken
        self.rooms = set()  # constants in the size of an array
        self.choices = set()  # where a comparison chooses the smaller or larger of what it compares
        self.found = {}  # (start, end, replacement): (kind, function, line)

    def is_here(self, cursor):
        file = cursor.location.file
        return file is not None and os.path.samefile(file.name, self.path)

    def extent(self, cursor, parent=None):
        """The bytes of a node, or None where they are not written in this file as they stand. Below a
        parent that is, it may be a macro with its arguments, too."""
        (file, _, start), (other, _, end) = (file_offset(cursor.extent.start),
                                             file_offset(cursor.extent.end))
        if file is None or file != other or not os.path.samefile(file, self.path) or start >= end:
            return None
        for first, named, last, name in self.macros:
            if name in ASSERTIONS and first <= start < last:
                return None
            if parent is not None and (start, end) == (first, last) and not (
                    first <= file_offset(parent.extent.start)[2] and
                    file_offset(parent.extent.end)[2] <= last):
                continue
            if first <= start < last and start < named and end <= last and name not in TRUTHS:
                return None  # of the macro's body, or the macro itself
            if first < start < last < end or start < first < end < last:
                return None  # half of it
        return start, end

    def add(self, kind, function, start, end, replacement):
        if self.text[start:end].decode() == replacement:
            return
        line = self.text.count(b"\n", 0, start) + 1
        # Lines after it keep their numbers, which assertions tell.
        replacement += "\n" * (self.text.count(b"\n", start, end) - replacement.count("\n"))
        self.found.setdefault((start, end, replacement), (kind, function, line))

    def tokens(self, start, end):
        """The tokens between two places, with their offsets."""
        file = self.unit.get_file(self.path)
        extent = cindex.SourceRange.from_locations(
            cindex.SourceLocation.from_offset(self.unit, file, start),
            cindex.SourceLocation.from_offset(self.unit, file, end))
        return [(t.spelling, t.extent.start.offset) for t in self.unit.get_tokens(extent=extent)
                if t.kind == TokenKind.PUNCTUATION and start <= t.extent.start.offset < end]

    def token_of(self, cursor):
        """A binary operator's token, which stands alone between its two sides, and its place."""
        sides = list(cursor.get_children())
        if len(sides) != 2 or self.extent(cursor) is None:
            return "", 0
        start, end = (file_offset(sides[0].extent.end)[2], file_offset(sides[1].extent.start)[2])
        between = [t for t in self.tokens(start, end) if t[0] not in "()"]
        return between[0] if len(between) == 1 else ("", 0)

    def operator(self, cursor, function, mixed):
        token, at = self.token_of(cursor)
        sides = list(cursor.get_children())
        pointer = cindex.TypeKind.POINTER in (sides[0].type.get_canonical().kind,
                                              sides[1].type.get_canonical().kind)
        if at in self.choices or (mixed and token in ("+", "-", "*", "^", "|")):
            return
        for kind, swaps in SWAPS.items():
            if token in swaps and not (pointer and kind in ("arithmetic", "bitwise") and token != "+"):
                self.add(kind, function, at, at + len(token), swaps[token])

    def choice(self, cursor):
        """Of `a < b ? a : b`: where both are equal either will do, so <= changes nothing."""
        sides = list(cursor.get_children())
        if len(sides) != 3 or sides[0].kind != Kind.BINARY_OPERATOR:
            return
        token, at = self.token_of(sides[0])
        compared, chosen = (sorted("".join(self.text[file_offset(node.extent.start)[2]:
                                                     file_offset(node.extent.end)[2]].decode().split())
                                   for node in map(without_cast, nodes))
                            for nodes in (sides[0].get_children(), sides[1:]))
        if token in ("<", "<=", ">", ">=") and compared == chosen:
            self.choices.add(at)

    def unary(self, cursor, function):
        extent = self.extent(cursor)
        inner = next(cursor.get_children(), None)
        if extent is None or inner is None:
            return
        start, end = extent
        token, at = self.tokens(start, end)[0]
        if at != start:  # behind its operand
            token, at = self.tokens(start, end)[-1]
        if token in UNARY:
            self.add("unary", function, at, at + len(token), UNARY[token])

    def constant(self, cursor, function):
        extent = self.extent(cursor)
        if extent is None:
            return
        start, end = extent
        if start in self.filled:
            return
        text = self.text[start:end].decode()
        if text in TRUTHS:
            self.add("constant", function, start, end, TRUTHS[text])
            return
        digits = text.rstrip("uUlL")
        try:
            value = int(digits, 8) if digits.isdigit() and digits.startswith("0") else int(digits, 0)
        except ValueError:  # not written as a number: a macro's
            return
        if start not in self.rooms:
            self.add("constant", function, start, end, f"{value + 1}{text[len(digits):]}")
        if value > 0:
            self.add("constant", function, start, end, f"{value - 1}{text[len(digits):]}")

    def condition(self, cursor, function):
        """Of a conditional, the first expression; a loop's may be left out."""
        children = list(cursor.get_children())
        if cursor.kind == Kind.DO_STMT:
            children = children[1:]
        elif cursor.kind == Kind.FOR_STMT:
            # cindex has only those parts that are there: the one between the two semicolons.
            whole = self.extent(cursor)
            if whole is None:
                return
            inner = [t for t in self.tokens(*whole) if t[0] == ";"][:2]
            children = [c for c in children if len(inner) == 2 and inner[0][1] <
                        file_offset(c.extent.start)[2] < inner[1][1]]
        if not children:
            return
        extent = self.extent(children[0], cursor)
        if extent is None:
            return
        start, end = extent
        node = children[0]
        text = self.text[start:end].decode()
        if node.kind == Kind.UNARY_OPERATOR and text.startswith("!"):
            return  # without its ! it is there already
        if node.kind == Kind.BINARY_OPERATOR and self.token_of(node)[0] in ("==", "!="):
            return  # and so is its opposite
        self.add("negated", function, start, end, f"!({text})")

    def statement(self, cursor, parent, function):
        """An expression or jump that stands as a statement."""
        extent = self.extent(cursor, parent)
        if extent is None:
            return
        start, end = extent
        self.add("dropped", function, start, end, "(void)0")

    def room(self, variable):
        """Of an array the size, which comes before what it is filled with."""
        size = next((c for c in variable.get_children() if c.kind != Kind.TYPE_REF), None)
        if size is not None and size.kind != Kind.INIT_LIST_EXPR:
            self.rooms.update(file_offset(node.extent.start)[2] for node in size.walk_preorder()
                              if node.kind == Kind.INTEGER_LITERAL)

    def fill(self, function):
        taken = {inner.referenced.hash for node in function.walk_preorder()
                 if node.kind == Kind.UNARY_OPERATOR
                 for inner in node.get_children() if inner.kind == Kind.DECL_REF_EXPR
                 and node.type.get_canonical().kind == cindex.TypeKind.POINTER}
        for node in function.walk_preorder():
            if node.kind == Kind.VAR_DECL and node.hash in taken:
                value = ([None] + list(node.get_children()))[-1]
                while value is not None and value.kind == Kind.UNEXPOSED_EXPR:  # a conversion
                    value = next(value.get_children(), None)
                if value is not None and value.kind == Kind.INTEGER_LITERAL:
                    self.filled.add(file_offset(value.extent.start)[2])

    def walk(self, cursor, function, depth, mixed=False):
        for child in cursor.get_children():
            name = function
            if child.kind == Kind.CALL_EXPR and child.spelling in SAID:
                continue
            if child.kind == Kind.FUNCTION_DECL:
                if not (child.is_definition() and self.is_here(child)) or child.spelling in SAID:
                    continue
                name, inner = child.spelling, 0
                self.fill(child)
            else:
                if depth < 0 and not self.is_here(child):
                    continue
                inner = depth + 1 if depth >= 0 else depth
            if child.kind in (Kind.BINARY_OPERATOR, Kind.COMPOUND_ASSIGNMENT_OPERATOR):
                self.operator(child, name, mixed)
            elif child.kind == Kind.UNARY_OPERATOR:
                self.unary(child, name)
            elif child.kind == Kind.INTEGER_LITERAL:
                self.constant(child, name)
            elif child.kind == Kind.CONDITIONAL_OPERATOR:
                self.choice(child)
            elif child.kind == Kind.VAR_DECL and child.type.kind == cindex.TypeKind.CONSTANTARRAY:
                self.room(child)
            if child.kind in CONDITIONS:
                self.condition(child, name)
            if cursor.kind in BODIES and child.kind in DROPPED and self.is_statement(cursor, child):
                last = child.kind == Kind.RETURN_STMT and depth == 1
                if not last:  # a function without its end is no program
                    self.statement(child, cursor, name)
            self.walk(child, name, inner, mixed or (child.kind == Kind.CALL_EXPR and child.spelling in MIXERS))

    def is_statement(self, parent, child):
        """Whether it ends with a semicolon: a loop's or an if's condition is no statement."""
        end = file_offset(child.extent.end)[2]
        behind = self.tokens(end, min(len(self.text), end + 64))
        if not behind or behind[0][0] != ";":
            return False
        if parent.kind == Kind.FOR_STMT:  # within its parentheses
            closes = [c for c in parent.get_children()][-1]
            return file_offset(closes.extent.start)[2] == file_offset(child.extent.start)[2]
        return True

    def mutants(self, named):
        self.walk(self.unit.cursor, "-", -1)
        base = os.path.basename(self.path).removesuffix(".c")
        ordered = sorted(self.found.items())
        lines = self.text.decode().split("\n")
        seen = {}
        for number, ((start, end, new), (kind, function, line)) in enumerate(ordered, 1):
            old = self.text[start:end].decode()
            name = (base, function, *(" ".join(text.split()) or "nothing"
                                      for text in (lines[line - 1], old, new)))
            seen[name] = seen.get(name, 0) + 1
            name = "\t".join((*name, str(seen[name])))
            yield (f"{base}.{number}", kind, function, line, start, end, json.dumps(new),
                   named.pop(name, "-"), name)


def read_names(path, files):
    """Rows of these files: from name to reason."""
    named = {}
    with open(path, encoding="utf-8") as rows:
        for number, row in enumerate(rows, 1):
            if row.startswith("#"):
                continue
            name, _, reason = row.rstrip("\n").rpartition("\t")
            if name.count("\t") != 5 or not reason:
                sys.exit(f"mutants.py: {path}:{number}: expected a name of six columns and a reason")
            if name.split("\t")[0] in files:
                named[name] = reason
    return named


def main(arguments):
    if "--" not in arguments or arguments.index("--") < 3:
        sys.exit("usage: mutants.py SEED NAMED FILE... -- FLAGS")
    middle = arguments.index("--")
    seed, names, paths, flags = (arguments[0], arguments[1], arguments[2:middle],
                                 arguments[middle + 1:])
    named = read_names(names, [os.path.basename(p).removesuffix(".c") for p in paths])
    cindex.conf.lib.clang_getFileLocation.argtypes = [
        cindex.SourceLocation, ctypes.POINTER(cindex.c_object_p)] + [ctypes.POINTER(ctypes.c_uint)] * 3
    found = [mutant for path in paths for mutant in Source(path, flags).mutants(named)]
    for name in named:
        sys.exit(f"mutants.py: {names}: no mutant has this name, remove the row: {name}")
    if seed:
        found.sort(key=lambda mutant: hashlib.sha256(f"{seed} {mutant[0]}".encode()).digest())
    for mutant in found:
        print(*mutant, sep="\t")


if __name__ == "__main__":
    main(sys.argv[1:])
