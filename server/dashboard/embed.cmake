# Writes the C++ source of dashboard_files.h:
#   cmake -DOUTPUT=FILE "-DFILES=URL|FILE;..." -P embed.cmake
# Bytes are written as numbers: a string literal would have to know what the file may hold.
cmake_minimum_required(VERSION 3.25)

function(content_type_of name variable)
  if(name MATCHES "\\.html$")
    set(type "text/html; charset=utf-8")
  elseif(name MATCHES "\\.css$")
    set(type "text/css; charset=utf-8")
  elseif(name MATCHES "\\.js$")
    set(type "text/javascript; charset=utf-8")
  elseif(name MATCHES "\\.svg$")
    set(type "image/svg+xml")
  else()
    message(FATAL_ERROR "dashboard: ${name}: no content type is known; add one to embed.cmake")
  endif()
  set(${variable} "${type}" PARENT_SCOPE)
endfunction()

set(arrays "")
set(rows "")
set(number 0)
foreach(entry IN LISTS FILES)
  string(REGEX MATCH "^([^|]+)\\|(.+)$" matched "${entry}")
  set(url "${CMAKE_MATCH_1}")
  set(file "${CMAKE_MATCH_2}")
  content_type_of("${file}" type)
  file(SHA256 "${file}" hash)
  string(SUBSTRING "${hash}" 0 16 hash)
  file(READ "${file}" hex HEX)
  string(REGEX REPLACE "(..)" "0x\\1," bytes "${hex}")
  string(APPEND arrays "constexpr unsigned char kFile${number}[] = {${bytes}};\n")
  string(APPEND rows "      {\"${url}\", \"${type}\",\n"
    "       Text(kFile${number}, sizeof(kFile${number})), \"\\\"${hash}\\\"\"},\n")
  math(EXPR number "${number} + 1")
endforeach()

file(WRITE "${OUTPUT}" "// Written by server/dashboard/embed.cmake.
#include \"server/dashboard_files.h\"

namespace engram::server {
namespace {

${arrays}
absl::string_view Text(const unsigned char* bytes, size_t size) {
  return {reinterpret_cast<const char*>(bytes), size};
}

}  // namespace

const std::vector<DashboardFile>& DashboardFiles() {
  static const auto* const files = new std::vector<DashboardFile>{
${rows}  };
  return *files;
}

}  // namespace engram::server
")
