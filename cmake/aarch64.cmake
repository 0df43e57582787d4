# Cross-compiling for aarch64 with Debian's gcc-aarch64-linux-gnu, against a
# directory with that architecture's libraries (CONTRIBUTING.md says how to
# make one); tests run under qemu-user.
#
#   cmake -S . -B build/aarch64 -DCMAKE_TOOLCHAIN_FILE=cmake/aarch64.cmake
#         -DMOONWIRE_SYSROOT=DIR
set(MOONWIRE_SYSROOT "" CACHE PATH "where the libraries of the target lie")
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES MOONWIRE_SYSROOT)

set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_SYSROOT ${MOONWIRE_SYSROOT})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(ENV{PKG_CONFIG_SYSROOT_DIR} ${MOONWIRE_SYSROOT})
set(ENV{PKG_CONFIG_LIBDIR}
    ${MOONWIRE_SYSROOT}/usr/lib/aarch64-linux-gnu/pkgconfig)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64-static -L ${MOONWIRE_SYSROOT})
