# Run as a script by moonwire_embed(): writes the C file OUT.
set(code "/* Made by cmake/embed_files.cmake from ${NAME}. */\n")
string(APPEND code "#include \"${ROOM}/embedded.h\"\n\n")
set(table "")
set(index 0)
foreach(file IN LISTS FILES)
    file(READ ${DIR}/${file} hex HEX)
    string(REGEX REPLACE "(..)" "0x\\1," bytes "${hex}")
    string(REGEX REPLACE "(................................................................................)"
        "\\1\n" bytes "${bytes}")
    # A NUL behind the last byte, so that an empty file is an array as well.
    string(APPEND code
        "static const unsigned char file_${index}[] = {\n${bytes}0};\n")
    string(APPEND table "    {\"${file}\", file_${index}, "
        "sizeof(file_${index}) - 1},\n")
    math(EXPR index "${index} + 1")
endforeach()
string(APPEND code "\nstatic const struct embedded files[] = {\n${table}};\n"
    "\nconst struct embedded *${NAME}(size_t *count)\n{\n"
    "    *count = sizeof(files) / sizeof(files[0]);\n    return files;\n}\n")
file(WRITE ${OUT} "${code}")
