# Unit tests mirror src/: tests/unit/<room>/test_<file>.c links its room (and
# the floors below) and cmocka, and is one ctest.
pkg_check_modules(CMOCKA REQUIRED IMPORTED_TARGET cmocka)
find_program(PYTHON NAMES python3 PATHS /usr/bin NO_DEFAULT_PATH)

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

# The bindings once more, with scripts that are stopped every 100 us.
add_test(NAME app_stopped/api_specs COMMAND unit_app_api_specs)
set_tests_properties(app_stopped/api_specs PROPERTIES TIMEOUT 240
    ENVIRONMENT MOONWIRE_SLICE_US=100)

# A room built another way, held to the same tests as the usual one:
#   moonwire_variant(NAME ROOM DEFINITION FILES file ... DEPS library ...)
function(moonwire_variant name room definition)
    cmake_parse_arguments(VARIANT "" "" "FILES;DEPS" ${ARGN})
    file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${room}/*.c)
    add_library(${name} STATIC EXCLUDE_FROM_ALL ${sources})
    target_compile_definitions(${name} PUBLIC ${definition})
    target_compile_options(${name} PRIVATE
        $<TARGET_PROPERTY:${room},COMPILE_OPTIONS>)
    target_link_libraries(${name} PUBLIC m_common ${VARIANT_DEPS})
    foreach(file ${VARIANT_FILES})
        set(target unit_${name}_${file})
        add_executable(${target} tests/unit/${room}/test_${file}.c)
        target_include_directories(
            ${target} PRIVATE ${CMAKE_SOURCE_DIR}/tests)
        target_compile_definitions(${target} PRIVATE
            TESTS_DIR="${CMAKE_SOURCE_DIR}/tests")
        target_compile_options(${target} PRIVATE -Wno-missing-prototypes
            -Wno-conversion -Wno-pedantic)
        target_link_libraries(${target} PRIVATE ${name} PkgConfig::CMOCKA)
        add_test(NAME ${name}/${file} COMMAND ${target})
        set_tests_properties(${name}/${file} PROPERTIES TIMEOUT 120)
    endforeach()
endfunction()

# What loop/io promises holds for its other backend, too; and what script/fiber
# promises, for the switch of processors that it does not know.
if(NOT MOONWIRE_IO_UV)
    moonwire_variant(loop_on_uv loop MOONWIRE_IO_UV=1
        FILES loop io timers DEPS base m_uv)
endif()
moonwire_variant(script_on_ucontext script FIBER_UCONTEXT=1
    FILES fiber task vm preempt steady DEPS loop m_lua)

# What holds for an app holds for clients that live on another loop.
foreach(file app carry connect inbox load obstacle reload restart steps hostile
        api_specs)
    set(target unit_app_${file}_far)
    add_executable(${target} tests/unit/app/test_${file}.c)
    target_include_directories(${target} PRIVATE ${CMAKE_SOURCE_DIR}/tests)
    target_compile_definitions(${target} PRIVATE STAGE_FAR
        TESTS_DIR="${CMAKE_SOURCE_DIR}/tests")
    target_compile_options(${target} PRIVATE -Wno-missing-prototypes
        -Wno-conversion -Wno-pedantic)
    target_link_libraries(${target} PRIVATE app PkgConfig::CMOCKA)
    add_test(NAME app/${file}_far COMMAND ${target})
    set_tests_properties(app/${file}_far PROPERTIES TIMEOUT 120)
endforeach()

# Every header compiles alone, and twice.
file(GLOB headers CONFIGURE_DEPENDS RELATIVE ${CMAKE_SOURCE_DIR}/src
    ${CMAKE_SOURCE_DIR}/src/*/*.h)
set(alone_sources "")
foreach(header ${headers})
    string(MAKE_C_IDENTIFIER ${header} id)
    set(alone ${CMAKE_BINARY_DIR}/headers_alone/${id}.c)
    file(CONFIGURE OUTPUT ${alone} @ONLY CONTENT
"#include \"@header@\"
#include \"@header@\"
typedef int @id@_is_not_empty;
")
    list(APPEND alone_sources ${alone})
endforeach()
add_library(headers_alone OBJECT ${alone_sources})
target_link_libraries(headers_alone PRIVATE m_common m_lua m_uv m_llhttp
    m_mbedcrypto)

# The floors of src/ROOMS hold, and their checker can tell.
add_test(NAME style/rooms COMMAND ${PYTHON}
    ${CMAKE_SOURCE_DIR}/tests/style/check_rooms.py ${CMAKE_SOURCE_DIR})
add_test(NAME style/check_rooms COMMAND ${PYTHON}
    ${CMAKE_SOURCE_DIR}/tests/style/test_check_rooms.py)

# What the house style says beyond formatting holds, and its checker can tell.
add_test(NAME style/house COMMAND ${PYTHON}
    ${CMAKE_SOURCE_DIR}/tests/style/check_style.py ${CMAKE_SOURCE_DIR})
add_test(NAME style/check_style COMMAND ${PYTHON}
    ${CMAKE_SOURCE_DIR}/tests/style/test_check_style.py)

# Benchmarks are built by name and are no tests: their numbers belong to a
# machine. They stop at the hub; what is above is measured from outside.
file(GLOB benches CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/bench/bench_*.c)
foreach(source ${benches})
    get_filename_component(name ${source} NAME_WE)
    add_executable(${name} EXCLUDE_FROM_ALL ${source})
    target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/tests)
    target_link_libraries(${name} PRIVATE hub script)
endforeach()

# The map of the code has no white spots.
add_test(NAME style/map COMMAND ${PYTHON}
    ${CMAKE_SOURCE_DIR}/tests/style/check_map.py ${CMAKE_SOURCE_DIR})

# What is made from lua/api.lua is as that table says.
find_program(LUA_PROGRAM lua5.4)
if(LUA_PROGRAM AND EXISTS ${CMAKE_SOURCE_DIR}/lua/docgen.lua)
    add_test(NAME style/docgen COMMAND ${LUA_PROGRAM}
        ${CMAKE_SOURCE_DIR}/lua/docgen.lua ${CMAKE_SOURCE_DIR} --check)
endif()

# Every rule of the protocol names a test that is there.
add_test(NAME style/conformance COMMAND ${PYTHON}
    ${CMAKE_SOURCE_DIR}/tests/style/check_conformance.py ${CMAKE_SOURCE_DIR})
