# Aether::aether is the shared library, Aether::aether_static the static one.

# From where this file stands, so that the folder may be moved.
get_filename_component(AETHER_PREFIX "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)

if(NOT TARGET Aether::aether)
  add_library(Aether::aether SHARED IMPORTED)
  set_target_properties(Aether::aether PROPERTIES
    IMPORTED_LOCATION "${AETHER_PREFIX}/lib/libaether.so.@VERSION@"
    IMPORTED_SONAME "libaether.so.@ABI@"
    INTERFACE_INCLUDE_DIRECTORIES "${AETHER_PREFIX}/include")

  add_library(Aether::aether_static STATIC IMPORTED)
  set_target_properties(Aether::aether_static PROPERTIES
    IMPORTED_LOCATION "${AETHER_PREFIX}/lib/libaether.a"
    INTERFACE_INCLUDE_DIRECTORIES "${AETHER_PREFIX}/include"
    INTERFACE_LINK_LIBRARIES "gcc_s;util;rt;pthread;m;dl;c")
endif()
