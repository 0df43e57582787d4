# System packages only. Each becomes an interface or imported target m_NAME.
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)

add_library(m_threads INTERFACE)
target_link_libraries(m_threads INTERFACE Threads::Threads)

pkg_check_modules(LUA REQUIRED IMPORTED_TARGET lua5.4)
add_library(m_lua INTERFACE)
target_link_libraries(m_lua INTERFACE PkgConfig::LUA m)

pkg_check_modules(UV REQUIRED IMPORTED_TARGET libuv>=1.44)
add_library(m_uv INTERFACE)
target_link_libraries(m_uv INTERFACE PkgConfig::UV)

pkg_check_modules(ZLIB REQUIRED IMPORTED_TARGET zlib>=1.2.11)
add_library(m_zlib INTERFACE)
target_link_libraries(m_zlib INTERFACE PkgConfig::ZLIB)

# mbedtls 2.28 (Debian 12) ships no pkg-config file.
find_path(MBEDTLS_INCLUDE mbedtls/version.h REQUIRED)
find_library(MBEDCRYPTO_LIBRARY mbedcrypto REQUIRED)
add_library(m_mbedcrypto INTERFACE)
target_include_directories(m_mbedcrypto SYSTEM INTERFACE ${MBEDTLS_INCLUDE})
target_link_libraries(m_mbedcrypto INTERFACE ${MBEDCRYPTO_LIBRARY})
find_library(MBEDTLS_LIBRARY mbedtls REQUIRED)
find_library(MBEDX509_LIBRARY mbedx509 REQUIRED)
add_library(m_mbedtls INTERFACE)
target_link_libraries(m_mbedtls INTERFACE ${MBEDTLS_LIBRARY} ${MBEDX509_LIBRARY}
    m_mbedcrypto)

# llhttp: a library where the system has one (Debian 13: libllhttp-dev), else
# the C sources that node-llhttp ships (Debian 12), compiled here.
find_path(LLHTTP_INCLUDE llhttp.h
    HINTS /usr/share/include/llhttp /usr/include/llhttp REQUIRED)
find_library(LLHTTP_LIBRARY llhttp)
if(LLHTTP_LIBRARY)
    add_library(m_llhttp INTERFACE)
    target_link_libraries(m_llhttp INTERFACE ${LLHTTP_LIBRARY})
    target_include_directories(m_llhttp SYSTEM INTERFACE ${LLHTTP_INCLUDE})
else()
    find_path(LLHTTP_SOURCES llhttp.c HINTS /usr/share/llhttp REQUIRED)
    add_library(m_llhttp STATIC ${LLHTTP_SOURCES}/llhttp.c
        ${LLHTTP_SOURCES}/http.c ${LLHTTP_SOURCES}/api.c)
    target_include_directories(m_llhttp SYSTEM PUBLIC ${LLHTTP_INCLUDE})
    target_compile_options(m_llhttp PRIVATE -w)
    # 8.x is two parsers in one; 9.x has only the strict one.
    target_compile_definitions(m_llhttp PRIVATE LLHTTP_STRICT_MODE=1)
endif()
