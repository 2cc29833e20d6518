# cmake -D IN=<folder> -D OUT=<zip> -P seed_corpus.cmake: the folder's files, flat, with one date.
file(GLOB files RELATIVE ${IN} ${IN}/*)
if(files STREQUAL "")
  message(FATAL_ERROR "${IN}: expected seeds")
endif()
list(JOIN files "\n" lines)
file(WRITE ${OUT}.list "${lines}\n")
execute_process(
  COMMAND ${CMAKE_COMMAND} -E tar cf ${OUT} --format=zip "--mtime=1990-01-01 00:00:00 UTC"
    --files-from=${OUT}.list
  WORKING_DIRECTORY ${IN} COMMAND_ERROR_IS_FATAL ANY)
