# offline_post_warnings(TARGET): the warnings that our own code is held to, and the chosen sanitizers.
# They are errors only in the test presets: a newer compiler's new warning must not stop a user's build.
function(offline_post_warnings target)
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wpedantic -Wshadow -Wconversion
    -Wnon-virtual-dtor -Wold-style-cast -Woverloaded-virtual)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    target_compile_options(${target} PRIVATE -Wthread-safety)
  endif()
  if(OFFLINE_POST_WERROR)
    target_compile_options(${target} PRIVATE -Werror)
  endif()
  if(OFFLINE_POST_SANITIZE)
    target_compile_options(${target} PUBLIC -fsanitize=${OFFLINE_POST_SANITIZE}
      -fno-omit-frame-pointer -fno-sanitize-recover=all)
    target_link_options(${target} PUBLIC -fsanitize=${OFFLINE_POST_SANITIZE})
  endif()
endfunction()
