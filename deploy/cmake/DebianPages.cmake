# Run by cpack on what it is about to pack: Debian's manual pages and changelogs are compressed, and its
# zsh looks for completions elsewhere than others do.
set(share ${CPACK_TEMPORARY_INSTALL_DIRECTORY}/usr/share)
file(RENAME ${share}/zsh/site-functions ${share}/zsh/vendor-completions)
file(GLOB_RECURSE pages ${share}/man/* ${share}/doc/engram/changelog)
list(FILTER pages EXCLUDE REGEX "\\.gz$")
execute_process(COMMAND gzip -9n ${pages} COMMAND_ERROR_IS_FATAL ANY)
