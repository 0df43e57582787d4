# moonwire_embed(ROOM NAME DIR): the files below DIR become part of the room
# as the function `const struct embedded *NAME(size_t *count)`, declared in
# the room's embedded.h. Hidden files are left out.
function(moonwire_embed room name dir)
    set(source_dir ${CMAKE_SOURCE_DIR}/${dir})
    file(GLOB_RECURSE files CONFIGURE_DEPENDS RELATIVE ${source_dir}
        ${source_dir}/*)
    list(SORT files)
    get_target_property(type ${room} TYPE)
    if(type STREQUAL "INTERFACE_LIBRARY" OR NOT files)
        return()
    endif()
    set(out ${CMAKE_BINARY_DIR}/embedded/${room}/${name}.c)
    list(TRANSFORM files PREPEND ${source_dir}/ OUTPUT_VARIABLE paths)
    add_custom_command(OUTPUT ${out}
        COMMAND ${CMAKE_COMMAND} -DOUT=${out} -DROOM=${room} -DNAME=${name}
            -DDIR=${source_dir} "-DFILES=${files}"
            -P ${CMAKE_SOURCE_DIR}/cmake/embed_files.cmake
        DEPENDS ${paths} ${CMAKE_SOURCE_DIR}/cmake/embed_files.cmake
        VERBATIM)
    target_sources(${room} PRIVATE ${out})
endfunction()
