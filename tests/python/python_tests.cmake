# Python in the suite: one virtual environment, one way to add a test. tests/python/README.md says why.
find_program(ENGRAM_PYTHON python3 REQUIRED)
set(ENGRAM_PYTHON_FOLDER ${CMAKE_BINARY_DIR}/python)
set(ENGRAM_PYTHON_INTERPRETER ${ENGRAM_PYTHON_FOLDER}/bin/python)
set(ENGRAM_PYTHON_STUBS ${CMAKE_BINARY_DIR}/python_stubs)

# engram_add_python_test(NAME PATH [SERIAL] [LABELS label] [TIMEOUT seconds] [PYTHONPATH folder...]
#                        [ENVIRONMENT name=value...])
# One ctest entry that runs pytest on PATH (files, or a folder with test_*.py) in the shared
# environment, with the stubs and tests/python on the path and the fixture engram_server at hand.
# SERIAL: nothing else runs beside it, for tests in which time is part of what is asked.
function(engram_add_python_test name path)
  cmake_parse_arguments(PARSE_ARGV 2 TEST "SERIAL" "LABELS;TIMEOUT" "PYTHONPATH;ENVIRONMENT")
  if(NOT TEST_LABELS)
    set(TEST_LABELS integration)
  endif()
  if(NOT TEST_TIMEOUT)
    set(TEST_TIMEOUT 240)
  endif()
  list(JOIN TEST_PYTHONPATH ":" extra)
  set(python_path "${ENGRAM_PYTHON_STUBS}:${CMAKE_SOURCE_DIR}/tests/python")
  if(extra)
    set(python_path "${extra}:${python_path}")
  endif()
  add_test(NAME ${name}
    COMMAND ${ENGRAM_PYTHON_INTERPRETER} -m pytest -q -c ${CMAKE_SOURCE_DIR}/tests/python/pytest.ini
            --rootdir=${CMAKE_SOURCE_DIR} ${path}
    WORKING_DIRECTORY ${CMAKE_BINARY_DIR})
  set_tests_properties(${name} PROPERTIES LABELS ${TEST_LABELS} TIMEOUT ${TEST_TIMEOUT}
    RUN_SERIAL ${TEST_SERIAL} ENVIRONMENT "PYTHONPATH=${python_path};PYTHONDONTWRITEBYTECODE=1;ENGRAMD=$<TARGET_FILE:engramd>;ENGRAM=$<TARGET_FILE:engram>;${TEST_ENVIRONMENT}")
endfunction()
