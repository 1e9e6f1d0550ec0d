// The `engram` command: streams, terminal and environment; the rest is in command.cc.
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "client/command.h"

int main(int argc, char** argv) {
  engram::client::VerbContext context;
  context.terminal = isatty(STDERR_FILENO) != 0;
  const char* terminal = std::getenv("TERM");
  context.screen = isatty(STDIN_FILENO) != 0 && isatty(STDOUT_FILENO) != 0 && terminal != nullptr &&
                   std::strcmp(terminal, "dumb") != 0;
  const char* server = std::getenv("ENGRAM_SERVER");
  if (server != nullptr && *server != '\0') context.connection.target = server;
  std::ios::sync_with_stdio(false);
  return engram::client::RunCommand(context, std::vector<std::string>(argv + 1, argv + argc));
}
