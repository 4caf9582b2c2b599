%% What the configuration accepts and what it says to the rest. ejabberd's own validators run here, as they do
%% when it loads its configuration.
-module(mod_offline_post_options_tests).

-include_lib("eunit/include/eunit.hrl").

-define(URL, <<"https://push.example.org/offline">>).

defaults_test() ->
    ?assertEqual({ok, #{post_url => ?URL, auth_token => <<>>, timeout => 10000, connect_timeout => 5000,
                        shutdown_timeout => 5000, max_connections => 64, queue_limit => 1000000,
                        queue_bytes => 268435456, tls_verify => true, ca_file => <<>>}},
                 load([{post_url, ?URL}])).

accepted_test_() ->
    [{lists:flatten(io_lib:format("~ts: ~tp", [Option, Value])),
      ?_assertMatch({ok, #{Option := Expected}}, load([{post_url, ?URL}, {Option, Value}]))} ||
        {Option, Value, Expected} <-
            [{timeout, 3, 3000}, {timeout, <<"3 s">>, 3000}, {timeout, <<"200 ms">>, 200},
             {connect_timeout, <<"1 minute">>, 60000}, {shutdown_timeout, <<"1500 ms">>, 1500},
             {max_connections, 1, 1}, {queue_limit, 1, 1}, {queue_bytes, 1, 1}, {tls_verify, false, false},
             {auth_token, <<"grüße &%+ \"'"/utf8>>, <<"grüße &%+ \"'"/utf8>>}]].

accepted_url_test_() ->
    [?_assertMatch({ok, #{post_url := Url}}, load([{post_url, Url}])) ||
        Url <- [<<"http://localhost">>, <<"http://127.0.0.1:8080/a?b=c">>, <<"https://[::1]:443/x">>]].

refused_test_() ->
    Scheme = <<"begins with http:// or https://">>,
    [{lists:flatten(io_lib:format("~tp", [Opts])), fun() -> refused(Opts, Option, Text) end} ||
        {Opts, Option, Text} <-
            [{[], <<"post_url">>, <<"Missing required option: post_url">>},
             {[{post_url, <<>>}], <<"post_url">>, <<"Empty string">>},
             {[{post_url, <<"/offline">>}], <<"post_url">>, Scheme},
             {[{post_url, <<"push.example.org/x">>}], <<"post_url">>, Scheme},
             {[{post_url, <<"http">>}], <<"post_url">>, Scheme},
             {[{post_url, <<"ftp://push.example.org/x">>}], <<"post_url">>, Scheme},
             {[{post_url, <<"file:///etc/passwd">>}], <<"post_url">>, Scheme},
             {[{post_url, <<"http://">>}], <<"post_url">>, <<"Empty hostname">>},
             {[{post_url, <<"http:///x">>}], <<"post_url">>, <<"Empty hostname">>},
             {[{post_url, <<"http://a.example:99999/">>}], <<"post_url">>, <<"Invalid port">>},
             {[{post_url, <<"http://a.example:x/">>}], <<"post_url">>, <<"Invalid URL">>},
             {[{post_url, <<"%%%">>}], <<"post_url">>, Scheme},
             {[{post_url, <<"http://a.example/a b">>}], <<"post_url">>, <<"percent-encode">>},
             {[{post_url, <<"http://a.example/\r\nX: y">>}], <<"post_url">>, <<"percent-encode">>},
             {[{post_url, <<"http://bücher.example/"/utf8>>}], <<"post_url">>, <<"percent-encode">>},
             {[{post_url, 42}], <<"post_url">>, <<"Expected string">>},
             {[{url, ?URL}, {post_url, ?URL}], <<"url">>, <<"Did you mean post_url">>},
             {[{post_url, ?URL}, {timeout, -5}], <<"timeout">>, <<"positive integer">>},
             {[{post_url, ?URL}, {timeout, 0}], <<"timeout">>, <<"positive integer">>},
             {[{post_url, ?URL}, {timeout, <<"2 days">>}], <<"timeout">>, <<"86400000">>},
             {[{post_url, ?URL}, {connect_timeout, <<"soon">>}], <<"connect_timeout">>, <<"integer">>},
             {[{post_url, ?URL}, {shutdown_timeout, infinity}], <<"shutdown_timeout">>, <<"integer">>},
             {[{post_url, ?URL}, {max_connections, 0}], <<"max_connections">>, <<"integer">>},
             {[{post_url, ?URL}, {queue_limit, 0}], <<"queue_limit">>, <<"integer">>},
             {[{post_url, ?URL}, {queue_bytes, <<"lots">>}], <<"queue_bytes">>, <<"integer">>},
             {[{post_url, ?URL}, {tls_verify, maybe_not}], <<"tls_verify">>, <<"boolean">>},
             {[{post_url, ?URL}, {ca_file, <<"/nowhere/ca.pem">>}], <<"ca_file">>, <<"no such file">>},
             {[{post_url, ?URL}, {ca_file, <<"/etc">>}], <<"ca_file">>, <<"directory">>},
             {[{post_url, ?URL}, {ca_file, <<"/etc/hostname">>}], <<"ca_file">>, <<"no PEM certificate">>},
             {[{post_url, ?URL}, {auth_token, <<"geheim\nX-Injected: y">>}], <<"auth_token">>, <<"control characters">>},
             {[{post_url, ?URL}, {auth_token, <<"geheim", 0>>}], <<"auth_token">>, <<"control characters">>}]].

%% Each option is documented, and nothing else is.
documentation_test() ->
    #{desc := _, opts := Documented, example := _} = mod_offline_post:mod_doc(),
    ?assertEqual(lists:sort(options()), lists:sort([Option || {Option, _} <- Documented])),
    [?assertMatch(#{value := _, desc := _}, Doc) || {_, Doc} <- Documented].

%% Each option has its getter.
getters_test() ->
    {ok, Opts} = load([{post_url, ?URL}]),
    [?assertEqual(maps:get(Option, Opts), mod_offline_post_opt:Option(Opts)) || Option <- options()].

options() ->
    [case Option of {Name, _} -> Name; Name -> Name end || Option <- mod_offline_post:mod_options(<<"a.example">>)].

refused(Opts, Option, Text) ->
    {error, Reason, Ctx} = load(Opts),
    Message = unicode:characters_to_binary(econf:format_error(Reason, Ctx)),
    [?assertNotEqual({Part, nomatch, Message}, {Part, binary:match(Message, Part), Message}) || Part <- [Option, Text]],
    ?assertEqual({nomatch, Message}, {binary:match(Message, <<"geheim">>), Message}).

%% As gen_mod does it.
load(Opts) ->
    Options = mod_offline_post:mod_options(<<"a.example">>),
    Validators = maps:from_list([{Option, mod_offline_post:mod_opt_type(Option)} || Option <- options()]),
    Validator = econf:options(Validators, [{required, [O || O <- Options, is_atom(O)]}, {return, map}, unique]),
    case econf:validate(Validator, Opts) of
        {ok, Given} -> {ok, maps:merge(maps:from_list([O || {_, _} = O <- Options]), Given)};
        Error -> Error
    end.
