# Sources of engram_server_core beside errors.cc and logging.cc; whoever adds a file adds a line.
set(ENGRAM_SERVER_CORE_SOURCES
)
