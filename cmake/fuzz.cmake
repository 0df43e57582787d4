# tests/fuzz/fuzz_<thing>.c holds an LLVMFuzzerTestOneInput(). With
# MOONWIRE_FUZZ it becomes a libFuzzer program; with the tests on, its corpus
# tests/fuzz/corpus/<thing>/ is replayed by ctest in every build, and so are
# the wire vectors tests/vectors/<thing>.txt where there are some.
# Which room a target needs, where it is not proto:
set(fuzz_room_value script)
set(fuzz_room_json script)

file(GLOB fuzz_sources CONFIGURE_DEPENDS
    ${CMAKE_SOURCE_DIR}/tests/fuzz/fuzz_*.c)
foreach(source ${fuzz_sources})
    get_filename_component(target ${source} NAME_WE)
    string(REGEX REPLACE "^fuzz_" "" thing ${target})
    set(room proto)
    if(DEFINED fuzz_room_${thing})
        set(room ${fuzz_room_${thing}})
    endif()
    set(corpus ${CMAKE_SOURCE_DIR}/tests/fuzz/corpus/${thing})
    set(vectors ${CMAKE_SOURCE_DIR}/tests/vectors/${thing}.txt)
    set(options -Wno-missing-prototypes -Wno-conversion -Wno-pedantic)
    if(EXISTS ${vectors})
        set(corpus --vectors ${vectors} ${corpus})
    endif()

    if(MOONWIRE_FUZZ)
        add_executable(${target} ${source})
        target_include_directories(${target} PRIVATE
            ${CMAKE_SOURCE_DIR}/tests)
        target_compile_options(${target} PRIVATE ${options})
        target_link_libraries(${target} PRIVATE ${room})
        target_link_options(${target} PRIVATE -fsanitize=fuzzer)
    endif()
    if(MOONWIRE_TESTS)
        add_executable(replay_${thing} ${source}
            ${CMAKE_SOURCE_DIR}/tests/fuzz/replay.c)
        target_include_directories(replay_${thing} PRIVATE
            ${CMAKE_SOURCE_DIR}/tests)
        target_compile_options(replay_${thing} PRIVATE ${options})
        target_link_libraries(replay_${thing} PRIVATE ${room})
        add_test(NAME fuzz/${thing} COMMAND replay_${thing} ${corpus})
        set_tests_properties(fuzz/${thing} PROPERTIES TIMEOUT 120)
    endif()
endforeach()
# Coverage feedback for the rooms themselves.
if(MOONWIRE_FUZZ)
    target_compile_options(m_common INTERFACE -fsanitize=fuzzer-no-link)
endif()
