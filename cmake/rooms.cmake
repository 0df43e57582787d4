# moonwire_room(NAME DEPS ...): one static library per room of src/.
set(MOONWIRE_WARNINGS -Wall -Wextra -Wpedantic -Wshadow -Wconversion
    -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wundef -Wwrite-strings
    -Wformat=2 -Wcast-qual)

add_library(m_common INTERFACE)
target_include_directories(m_common INTERFACE ${CMAKE_SOURCE_DIR}/src)
target_compile_definitions(m_common INTERFACE _GNU_SOURCE
    MOONWIRE_VERSION="${PROJECT_VERSION}")
target_compile_options(m_common INTERFACE ${MOONWIRE_WARNINGS}
    -fno-strict-aliasing $<$<BOOL:${MOONWIRE_WERROR}>:-Werror>)
if(MOONWIRE_TINY)
    target_compile_definitions(m_common INTERFACE MOONWIRE_TINY=1)
endif()
if(MOONWIRE_SANITIZE)
    target_compile_options(m_common INTERFACE
        -fsanitize=${MOONWIRE_SANITIZE} -fno-omit-frame-pointer
        -fno-sanitize-recover=all)
    target_link_options(m_common INTERFACE -fsanitize=${MOONWIRE_SANITIZE})
endif()

function(moonwire_room name)
    cmake_parse_arguments(ROOM "" "" "DEPS" ${ARGN})
    file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${name}/*.c
        ${CMAKE_SOURCE_DIR}/src/${name}/*.S)
    list(FILTER sources EXCLUDE REGEX "/main\\.c$")
    if(sources)
        add_library(${name} STATIC ${sources})
        target_link_libraries(${name} PUBLIC m_common ${ROOM_DEPS})
    else()
        add_library(${name} INTERFACE)
        target_link_libraries(${name} INTERFACE m_common ${ROOM_DEPS})
    endif()
endfunction()

function(moonwire_program)
    if(EXISTS ${CMAKE_SOURCE_DIR}/src/server/main.c)
        add_executable(moonwire src/server/main.c)
        target_link_libraries(moonwire PRIVATE server)
    endif()
endfunction()
