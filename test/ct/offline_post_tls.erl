%% Certificates for tests: an authority of our own and a server's certificate that it has signed.
-module(offline_post_tls).

-export([server/2]).

-include_lib("public_key/include/public_key.hrl").

%% {ssl options of a server named Name, path of a PEM file in Dir with the authority's certificate}.
server(Name, Dir) ->
    {ok, _} = application:ensure_all_started(ssl),
    Common = [{key, {namedCurve, secp256r1}}, {digest, sha256}],
    AltName = #'Extension'{extnID = ?'id-ce-subjectAltName', extnValue = [{dNSName, Name}], critical = false},
    Root = #{cert := Authority} = public_key:pkix_test_root_cert("offline-post test", Common),
    #{server_config := Server} =
        public_key:pkix_test_data(#{server_chain => #{root => Root, intermediates => [], peer => [{extensions, [AltName]} | Common]},
                                    client_chain => #{root => Common, intermediates => [], peer => Common}}),
    File = filename:join(Dir, Name ++ "-authority.pem"),
    ok = file:write_file(File, public_key:pem_encode([{'Certificate', Authority, not_encrypted}])),
    {[{log_level, none} | [Option || {Tag, _} = Option <- Server, Tag =:= cert orelse Tag =:= key]], File}.
