# The .deb: cpack -G DEB in the build folder. What programs link is found by dpkg-shlibdeps; what they
# load for speed (DT_RPATH, strategies/CMakeLists.txt) and what the scripts call is named here.
set(debian ${CMAKE_CURRENT_SOURCE_DIR}/debian)

find_program(ENGRAM_DPKG dpkg)
if(NOT ENGRAM_DPKG)
  return()
endif()
execute_process(COMMAND ${ENGRAM_DPKG} --print-architecture
  OUTPUT_VARIABLE ENGRAM_DEBIAN_ARCHITECTURE OUTPUT_STRIP_TRAILING_WHITESPACE)

# What Debian asks of the documentation of a package, and of no other installation.
configure_file(${debian}/changelog ${CMAKE_CURRENT_BINARY_DIR}/changelog @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/changelog DESTINATION share/doc/engram)
install(FILES ${debian}/copyright DESTINATION share/doc/engram)
install(FILES ${debian}/lintian-overrides DESTINATION share/lintian/overrides RENAME engram)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME engram)
set(CPACK_PACKAGE_VENDOR "Engram")
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_CONTACT "Engram maintainers <maintainers@users.noreply.engram.example>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "server for models that never stop learning")
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION "\
Producers stream labelled examples to engramd over gRPC; each model trains on\n\
them in order, as they arrive, and serves predictions all the while. What a\n\
model forgets is measured at every task boundary and exported to Prometheus;\n\
strategies such as experience replay and elastic weight consolidation keep\n\
forgetting small; a checkpoint brings an earlier model back, with its memory.\n\
.\n\
This package holds the server (engramd), its systemd units, the command\n\
(engram), and alert rules and dashboards for Prometheus and Grafana.")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_PRE_BUILD_SCRIPTS ${CMAKE_CURRENT_SOURCE_DIR}/cmake/DebianPages.cmake)
# Named by hand, so that what tests it knows its name.
set(ENGRAM_PACKAGE_FILE engram_${PROJECT_VERSION}_${ENGRAM_DEBIAN_ARCHITECTURE}.deb
  CACHE INTERNAL "What cpack makes")
set(CPACK_DEBIAN_FILE_NAME ${ENGRAM_PACKAGE_FILE})
set(CPACK_DEBIAN_PACKAGE_ARCHITECTURE ${ENGRAM_DEBIAN_ARCHITECTURE})
set(CPACK_DEBIAN_COMPRESSION_TYPE xz)
set(CPACK_DEBIAN_PACKAGE_SECTION net)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_DEPENDS "adduser, libopenblas0-openmp")
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "openssl")
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "prometheus")
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA
  ${debian}/postinst ${debian}/prerm ${debian}/postrm ${debian}/conffiles)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS
  OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
include(CPack)
