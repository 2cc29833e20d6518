# Turns the file IN into the C source OUT: its bytes as the array NAME, its length as NAME_len.
# Run by `cmake -D IN=... -D OUT=... -D NAME=... -P embed.cmake`; plain C, so every compiler and
# word size can have it.
file(READ ${IN} hex HEX)
string(REGEX REPLACE "(................................)" "\\1\n" hex "${hex}")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
get_filename_component(file ${IN} NAME)
file(WRITE ${OUT}
  "/* Made from ${file} by embed.cmake. */\n#include <stddef.h>\n"
  "extern const unsigned char ${NAME}[];\nextern const size_t ${NAME}_len;\n"
  "const unsigned char ${NAME}[] = {\n${bytes}\n};\n"
  "const size_t ${NAME}_len = sizeof(${NAME});\n")
