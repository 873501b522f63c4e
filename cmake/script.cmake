# bin/NAME that runs a Python script of the tree with the interpreter found here.
find_package(Python3 3.9 REQUIRED COMPONENTS Interpreter)
function(muster_script name script)
  string(JOIN " " arguments ${ARGN})
  file(GENERATE OUTPUT ${CMAKE_RUNTIME_OUTPUT_DIRECTORY}/${name}
    CONTENT "#!/bin/sh
exec ${Python3_EXECUTABLE} -B ${CMAKE_CURRENT_SOURCE_DIR}/${script} ${arguments} \"$@\"
"
    FILE_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE
                     WORLD_READ WORLD_EXECUTE)
endfunction()
