# What every file of ours is compiled with: the target m_common.
set(MOONWIRE_WARNINGS -Wall -Wextra -Wpedantic -Wshadow -Wconversion
    -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wundef -Wwrite-strings
    -Wformat=2 -Wcast-qual)

add_library(m_common INTERFACE)
target_include_directories(m_common INTERFACE ${CMAKE_SOURCE_DIR}/src)
target_compile_definitions(m_common INTERFACE _GNU_SOURCE
    MOONWIRE_VERSION="${PROJECT_VERSION}")
target_compile_options(m_common INTERFACE -fno-strict-aliasing
    $<$<COMPILE_LANGUAGE:C>:${MOONWIRE_WARNINGS}>
    $<$<BOOL:${MOONWIRE_WERROR}>:-Werror>)

if(MOONWIRE_HOLDS)
    target_compile_definitions(m_common INTERFACE MOONWIRE_HOLDS=1)
endif()
if(MOONWIRE_TINY)
    target_compile_definitions(m_common INTERFACE MOONWIRE_TINY=1)
endif()

# Scripts are stopped by a signal; "hook": by Lua's count hook, which stops no
# C function. TSan builds and unknown processors do so by themselves.
if(MOONWIRE_PREEMPT STREQUAL "hook")
    target_compile_definitions(m_common INTERFACE PREEMPT_HOOK=1)
endif()

if(MOONWIRE_IO_UV)
    target_compile_definitions(m_common INTERFACE MOONWIRE_IO_UV=1)
endif()

if(MOONWIRE_SANITIZE)
    target_compile_options(m_common INTERFACE
        -fsanitize=${MOONWIRE_SANITIZE} -fno-omit-frame-pointer
        -fno-sanitize-recover=all)
    target_link_options(m_common INTERFACE -fsanitize=${MOONWIRE_SANITIZE})
endif()

# Lua leaves our C functions by a jump that TSan does not see, so its notes of
# who called whom would grow with each Lua error until they overflow. For the
# rooms that Lua calls it takes none (and reports have no call stacks there).
set(MOONWIRE_NO_CALL_STACKS "")
if(MOONWIRE_SANITIZE MATCHES "thread")
    set(MOONWIRE_NO_CALL_STACKS
        "SHELL:-mllvm -tsan-instrument-func-entry-exit=0")
endif()

if(MOONWIRE_COVERAGE)
    target_compile_definitions(m_common INTERFACE MOONWIRE_COVERAGE=1)
    target_compile_options(m_common INTERFACE --coverage)
    target_link_options(m_common INTERFACE --coverage)
endif()

# No -fcf-protection: a shadow stack knows nothing of our fibers.
if(MOONWIRE_HARDEN)
    include(CheckIPOSupported)
    check_ipo_supported(RESULT has_lto OUTPUT lto_output LANGUAGES C)
    set(CMAKE_INTERPROCEDURAL_OPTIMIZATION ${has_lto})
    include(CheckPIESupported)
    check_pie_supported(LANGUAGES C)
    set(CMAKE_POSITION_INDEPENDENT_CODE ON)
    target_compile_options(m_common INTERFACE
        $<$<COMPILE_LANGUAGE:C>:-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2
        -fstack-protector-strong -fstack-clash-protection>)
    target_link_options(m_common INTERFACE -Wl,-z,relro,-z,now,-z,noexecstack)
endif()
