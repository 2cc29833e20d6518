# What fuzzing services take (ci/oss-fuzz/build.sh): target heaprig_services builds it, install component
# `services` puts it side by side into one folder, which needs nothing else. A target comes with
#   <name>                    the program
#   <name>_seed_corpus.zip    its assembled corpus
#   <name>.dict, <name>.options
option(HEAPRIG_SERVICES "A build for fuzzing services: warnings of compilers to come stop nothing" OFF)
option(HEAPRIG_MORE_UB "Add alignment and pointer-overflow to the environment's sanitizers" OFF)

# Every source of ours is compiled with these, core's as well. Counters are core's alone, so that faults
# are compiled like the rig. What targets run on has no C++ library; images of services have a static
# libc++ only, and with libstdc++.a MSan's runtime will not link (both define new and delete).
if(HEAPRIG_SERVICES)
  target_compile_options(heaprig_warnings INTERFACE -Wno-error)
  target_compile_options(heaprig_faults PRIVATE ${rig_no_counters})
  if(NOT CMAKE_C_FLAGS MATCHES "-fsanitize=[a-z,-]*memory")
    target_link_options(heaprig_targets INTERFACE -static-libstdc++)
  endif()
endif()
if(HEAPRIG_MORE_UB)
  target_compile_options(heaprig_warnings INTERFACE
    -fsanitize=alignment,pointer-overflow -fno-sanitize-recover=alignment,pointer-overflow)
endif()

add_custom_target(heaprig_services)
get_property(lines GLOBAL PROPERTY rig_targets)
string(REGEX MATCHALL "[^\n]+" lines "${lines}")
foreach(line ${lines})
  string(REPLACE " " ";" pair "${line}")
  list(GET pair 0 name)
  list(GET pair 1 folder)
  set(zip ${CMAKE_BINARY_DIR}/corpus/${name}_seed_corpus.zip)
  add_custom_command(OUTPUT ${zip}
    COMMAND ${CMAKE_COMMAND} -D IN=${CMAKE_BINARY_DIR}/corpus/${folder} -D OUT=${zip}
      -P ${CMAKE_CURRENT_LIST_DIR}/seed_corpus.cmake
    DEPENDS corpus_${folder} ${CMAKE_CURRENT_BINARY_DIR}/${folder}.stamp
      ${CMAKE_CURRENT_LIST_DIR}/seed_corpus.cmake
    COMMENT "Packing ${name}_seed_corpus.zip" VERBATIM)
  add_custom_target(zip_${name} DEPENDS ${zip})
  add_dependencies(heaprig_services ${name} zip_${name})
  install(PROGRAMS $<TARGET_FILE:${name}> DESTINATION . COMPONENT services EXCLUDE_FROM_ALL)
  install(FILES ${zip} DESTINATION . COMPONENT services EXCLUDE_FROM_ALL)
  foreach(suffix dict options)
    install(FILES ${binary_dir}/${name}.${suffix} DESTINATION . COMPONENT services EXCLUDE_FROM_ALL OPTIONAL)
  endforeach()
endforeach()
