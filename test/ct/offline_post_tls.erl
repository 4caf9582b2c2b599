%% Certificates for tests: an authority of our own and what it has signed.
-module(offline_post_tls).

-export([server/2, authority/2, issue/4]).

-include_lib("public_key/include/public_key.hrl").

-define(COMMON, [{key, {namedCurve, secp256r1}}, {digest, sha256}]).

%% {ssl options of a server named Name, path of a PEM file in Dir with the authority's certificate}.
server(Name, Dir) ->
    {Root, File} = authority(Name ++ "-authority", Dir),
    {options(Root, Name, []), File}.

%% {the authority, path of a PEM file in Dir with its certificate}.
authority(Base, Dir) ->
    {ok, _} = application:ensure_all_started(ssl),
    Root = #{cert := Authority} = public_key:pkix_test_root_cert("offline-post test", ?COMMON),
    {Root, write(filename:join(Dir, Base ++ ".pem"), [{'Certificate', Authority, not_encrypted}])}.

%% {Base.pem, Base.key}: certificate and key of a host named Name, valid from the first to the last of Days (dates).
issue(Root, Name, Days, Base) ->
    [_, {cert, Cert}, {key, {Type, Key}}] = options(Root, Name, [{validity, Days}]),
    {write(Base ++ ".pem", [{'Certificate', Cert, not_encrypted}]), write(Base ++ ".key", [{Type, Key,
        not_encrypted}])}.

options(Root, Name, More) ->
    AltName = #'Extension'{extnID = ?'id-ce-subjectAltName', extnValue = [{dNSName, Name}], critical = false},
    #{server_config := Server} =
        public_key:pkix_test_data(#{server_chain => #{root => Root, intermediates => [],
                                                      peer => [{extensions, [AltName]} | More] ++ ?COMMON},
                                    client_chain => #{root => ?COMMON, intermediates => [], peer => ?COMMON}}),
    [{log_level, none}, lists:keyfind(cert, 1, Server), lists:keyfind(key, 1, Server)].

write(File, Entries) ->
    ok = file:write_file(File, public_key:pem_encode(Entries)),
    File.
