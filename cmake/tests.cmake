# Unit tests mirror src/: tests/unit/<room>/test_<file>.c links its room (and
# the floors below) and cmocka, and is one ctest.
pkg_check_modules(CMOCKA REQUIRED IMPORTED_TARGET cmocka)

file(GLOB unit_tests CONFIGURE_DEPENDS
    ${CMAKE_SOURCE_DIR}/tests/unit/*/test_*.c)
foreach(source ${unit_tests})
    get_filename_component(name ${source} NAME_WE)
    get_filename_component(dir ${source} DIRECTORY)
    get_filename_component(room ${dir} NAME)
    string(REGEX REPLACE "^test_" "" file ${name})
    set(target unit_${room}_${file})
    add_executable(${target} ${source})
    target_include_directories(${target} PRIVATE ${CMAKE_SOURCE_DIR}/tests)
    target_compile_definitions(${target} PRIVATE
        TESTS_DIR="${CMAKE_SOURCE_DIR}/tests")
    target_compile_options(${target} PRIVATE -Wno-missing-prototypes
        -Wno-conversion -Wno-pedantic)
    target_link_libraries(${target} PRIVATE ${room} PkgConfig::CMOCKA)
    add_test(NAME ${room}/${file} COMMAND ${target})
    set_tests_properties(${room}/${file} PROPERTIES TIMEOUT 120)
endforeach()
