# The NIF library, the beams, and
# the layout that ejabberd loads from its modules directory.

find_program(ERL_EXECUTABLE erl REQUIRED)
find_program(ERLC_EXECUTABLE erlc REQUIRED)

# erlang_eval(VARIABLE EXPRESSION): the text that an Erlang expression evaluates to.
function(erlang_eval variable expression)
  execute_process(
    COMMAND ${ERL_EXECUTABLE} -noinput -boot start_clean -eval
      "io:format(\"~ts\", [${expression}]), halt()."
    OUTPUT_VARIABLE output COMMAND_ERROR_IS_FATAL ANY)
  set(${variable} "${output}" PARENT_SCOPE)
endfunction()

erlang_eval(ERLANG_ROOT "code:root_dir()")
find_path(ERL_NIF_INCLUDE_DIR erl_nif.h PATHS "${ERLANG_ROOT}/usr/include" REQUIRED NO_DEFAULT_PATH)

add_library(offline_post_nif MODULE
  c_src/nif/config.cpp
  c_src/nif/nif.cpp
  c_src/nif/observed.cpp
  c_src/nif/read.cpp
  c_src/nif/terms.cpp
)
target_include_directories(offline_post_nif SYSTEM PRIVATE ${ERL_NIF_INCLUDE_DIR})
target_link_libraries(offline_post_nif PRIVATE offline_post_core)
# nodelete: purging the Erlang module must never unmap code that the service thread runs.
target_link_options(offline_post_nif PRIVATE -Wl,-z,nodelete -Wl,--no-undefined-version -Wl,-z,relro,-z,now)
set_target_properties(offline_post_nif PROPERTIES
  PREFIX "" OUTPUT_NAME mod_offline_post_nif
  LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/priv)
offline_post_warnings(offline_post_nif)

# A copy where rebar3 and ejabberdctl module_install look for it. Its own rule: it comes back when somebody
# removes it, though nothing has to be linked again.
if(OFFLINE_POST_PRIV)
  set(PRIV_LIBRARY ${CMAKE_SOURCE_DIR}/priv/mod_offline_post_nif.so)
  add_custom_command(OUTPUT ${PRIV_LIBRARY}
    COMMAND ${CMAKE_COMMAND} -E copy $<TARGET_FILE:offline_post_nif> ${PRIV_LIBRARY}
    DEPENDS offline_post_nif VERBATIM)
  add_custom_target(offline_post_priv ALL DEPENDS ${PRIV_LIBRARY})
endif()

# Debian names ejabberd's XMPP library p1_xmpp; elsewhere it is xmpp. ejabberd itself may live outside
# of Erlang's own library directory.
erlang_eval(XMPP_LIBRARIES
  "lists:join(\";\", lists:usort([D || N <- [p1_xmpp, xmpp, fast_xml, p1_xml], D <- [code:lib_dir(N)], is_list(D)]))")
file(GLOB EJABBERD_LIBRARIES /usr/lib/*/ejabberd-* ${ERLANG_ROOT}/lib/ejabberd-*)
set(ERLC_FLAGS +debug_info)
if(OFFLINE_POST_WERROR)
  list(APPEND ERLC_FLAGS +warnings_as_errors)
endif()
foreach(library ${XMPP_LIBRARIES} ${EJABBERD_LIBRARIES})
  list(APPEND ERLC_FLAGS -I ${library}/include -pa ${library}/ebin)
endforeach()

file(GLOB ERLANG_SOURCES CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/erl_src/*.erl)
set(BEAM_DIR ${CMAKE_BINARY_DIR}/ebin)
foreach(source ${ERLANG_SOURCES})
  get_filename_component(module ${source} NAME_WE)
  set(beam ${BEAM_DIR}/${module}.beam)
  add_custom_command(OUTPUT ${beam}
    COMMAND ${CMAKE_COMMAND} -E make_directory ${BEAM_DIR}
    COMMAND ${ERLC_EXECUTABLE} ${ERLC_FLAGS} -o ${BEAM_DIR} ${source}
    DEPENDS ${source} COMMENT "erlc ${module}" VERBATIM)
  list(APPEND BEAMS ${beam})
endforeach()
if(EJABBERD_LIBRARIES AND BEAMS)
  add_custom_target(erlang ALL DEPENDS ${BEAMS})
  # What makes an OTP application of them: the same file that rebar3 writes.
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS erl_src/mod_offline_post.app.src)
  file(READ erl_src/mod_offline_post.app.src APPLICATION)
  if(NOT APPLICATION MATCHES "{vsn, \"${PROJECT_VERSION}\"}" OR NOT APPLICATION MATCHES "{modules, \\[\\]}")
    message(FATAL_ERROR "erl_src/mod_offline_post.app.src must have {vsn, \"${PROJECT_VERSION}\"}, as CMakeLists.txt has, and {modules, []}")
  endif()
  list(TRANSFORM ERLANG_SOURCES REPLACE "^.*/([^/]+)\\.erl$" "\\1" OUTPUT_VARIABLE MODULES)
  list(JOIN MODULES ", " MODULES)
  string(REPLACE "{modules, []}" "{modules, [${MODULES}]}" APPLICATION "${APPLICATION}")
  file(WRITE ${BEAM_DIR}/mod_offline_post.app "${APPLICATION}")
  list(APPEND BEAMS ${BEAM_DIR}/mod_offline_post.app)
else()
  message(STATUS "ejabberd not found: the Erlang modules are not built (scripts/setup installs it)")
endif()

# cmake --install build/native --prefix DIR/mod_offline_post, with DIR ejabberd's modules directory. The component
# `application` alone is what Erlang needs; the rest is for ejabberd's module commands and for people.
install(FILES ${BEAMS} DESTINATION ebin COMPONENT application)
install(TARGETS offline_post_nif LIBRARY DESTINATION priv COMPONENT application)
install(FILES mod_offline_post.spec README.md CHANGELOG.md CONTRIBUTING.md COPYING DESTINATION . COMPONENT module)
install(DIRECTORY docs contrib examples DESTINATION . COMPONENT module USE_SOURCE_PERMISSIONS)
