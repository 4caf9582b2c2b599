%% What the configuration accepts and what it says to the rest. ejabberd's own validators run here, as they do
%% when it loads its configuration.
-module(mod_offline_post_options_tests).

-include_lib("eunit/include/eunit.hrl").

-define(URL, <<"https://push.example.org/offline">>).

defaults_test() ->
    ?assertEqual({ok, #{post_url => ?URL, auth_token => <<>>, timeout => 10000, connect_timeout => 5000, connection_max_age => 300000,
                        shutdown_timeout => 5000, max_connections => 64, queue_limit => 1000000,
                        queue_bytes => undefined, format => form, content_type => <<>>, fields => none, room_fields => none,
                        headers => [], auth => body, signing_secrets => [], batch => none, compress => none, traceparent => false,
                        http_version => auto, tls_verify => true, ca_file => <<>>, client_cert => <<>>, client_key => <<>>,
                        proxy => none, spool => true,
                        spool_dir => <<>>, spool_min_free => 268435456, sync_commit => false,
                        retry_schedule => [1000, 2000, 4000, 8000, 16000, 32000, 64000, 128000, 256000, 512000, 600000],
                        max_age => 86400000, order => recipient, dead_letter_retention => 604800000,
                        dead_letter_limit => 100000, triggers => [offline, pending],
                        notify => [text, encrypted, call, file, invitation], notify_hanging_device => false, groupchat => mucsub,
                        members_notify => all, include_body => true, include_sender => true, cancel_when_online => false,
                        collapse => none, collapse_interval => none, max_rate => none, badge => none,
                        metrics_token => none, metrics_access => none}},
                 load([{post_url, ?URL}])).

accepted_test_() ->
    [{lists:flatten(io_lib:format("~ts: ~tp", [Option, Value])),
      ?_assertMatch({ok, #{Option := Expected}}, load([{post_url, ?URL}, {Option, Value}]))} ||
        {Option, Value, Expected} <-
            [{timeout, 3, 3000}, {timeout, <<"3 s">>, 3000}, {timeout, <<"200 ms">>, 200},
             {connect_timeout, <<"1 minute">>, 60000}, {shutdown_timeout, <<"1500 ms">>, 1500},
             {max_connections, 1, 1}, {queue_limit, 1, 1}, {queue_bytes, 1, 1}, {tls_verify, false, false},
             {spool, false, false}, {spool_dir, <<"/tmp">>, <<"/tmp">>}, {spool_min_free, 0, 0}, {sync_commit, true, true},
             {retry_schedule, [1, <<"2 s">>, <<"300 ms">>, <<"1 minute">>], [1000, 2000, 300, 60000]},
             {max_age, <<"3 days">>, 259200000}, {max_age, <<"500 ms">>, 500},
             {max_age, [{default, <<"24 h">>}, {call, <<"1 minute">>}], #{default => 86400000, call => 60000}},
             {max_age, [{<<"call_end">>, 5}], #{call_end => 5000}}, {order, none, none},
             {dead_letter_retention, <<"30 days">>, 2592000000}, {dead_letter_limit, 0, 0},
             {triggers, [pending], [pending]}, {triggers, [<<"offline">>], [offline]},
             {notify, [other, marker], [other, marker]}, {notify_hanging_device, true, true}, {groupchat, members, members},
             {groupchat, none, none}, {members_notify, mentions, mentions}, {include_sender, false, false},
             {include_body, true, true}, {include_body, <<"true">>, true}, {include_body, no, false},
             {include_body, <<"Neues von Jürgen"/utf8>>, <<"Neues von Jürgen"/utf8>>}, {include_body, 'New message', <<"New message">>},
             {include_body, [{default, false}, {text, true}, {encrypted, <<"New">>}], #{default => false, text => true, encrypted => <<"New">>}},
             {include_body, [{<<"call">>, 'Ring'}], #{call => <<"Ring">>}},
             {cancel_when_online, true, true}, {collapse, conversation, conversation}, {collapse, recipient, recipient},
             {collapse_interval, 5, 5000}, {collapse_interval, <<"1 hour">>, 3600000}, {collapse_interval, <<"none">>, none},
             {max_rate, none, none}, {max_rate, [{per_sender, 5}], #{per_sender => 5}},
             {max_rate, [{per_recipient, 60}, {beyond, drop}], #{per_recipient => 60, beyond => drop}},
             {badge, events, events}, {badge, stored, stored},
             {metrics_token, none, none}, {metrics_token, <<"none">>, none},
             {metrics_token, <<"0123456789abcde-._~+/=!">>, <<"0123456789abcde-._~+/=!">>},
             {metrics_access, none, none}, {metrics_access, <<"monitoring">>, monitoring},
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
             {[{post_url, <<"http://">>}], <<"post_url">>, <<"no hostname">>},
             {[{post_url, <<"http:///x">>}], <<"post_url">>, <<"no hostname">>},
             {[{post_url, <<"http://a.example:99999/">>}], <<"post_url">>, <<"1 to 65535">>},
             {[{post_url, <<"http://a.example:x/">>}], <<"post_url">>, <<"no valid URL">>},
             {[{post_url, <<"%%%">>}], <<"post_url">>, Scheme},
             {[{post_url, <<"http://a.example/a b">>}], <<"post_url">>, <<"percent-encode">>},
             {[{post_url, <<"http://a.example/\r\nX: y">>}], <<"post_url">>, <<"percent-encode">>},
             {[{post_url, <<"http://bücher.example/"/utf8>>}], <<"post_url">>, <<"punycode">>},
             {[{proxy, <<"http://bücher.example:3128"/utf8>>}], <<"proxy">>, <<"punycode">>},
             {[{connection_max_age, 0}], <<"connection_max_age">>, <<"positive">>},
             {[{connection_max_age, <<"500 ms">>}], <<"connection_max_age">>, <<"from 1000 to 86400000">>},
             {[{connection_max_age, <<"2 days">>}], <<"connection_max_age">>, <<"86400000">>},
             {[{post_url, 42}], <<"post_url">>, <<"Expected string">>},
             {[{posturl, ?URL}, {post_url, ?URL}], <<"posturl">>, <<"Did you mean post_url">>},
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
             {[{post_url, ?URL}, {spool, maybe_not}], <<"spool">>, <<"boolean">>},
             {[{post_url, ?URL}, {spool_dir, <<>>}], <<"spool_dir">>, <<"Empty">>},
             {[{post_url, ?URL}, {spool_dir, <<"spool">>}], <<"spool_dir">>, <<"absolute path">>},
             {[{post_url, ?URL}, {spool_min_free, -1}], <<"spool_min_free">>, <<"integer">>},
             {[{post_url, ?URL}, {sync_commit, <<"sometimes">>}], <<"sync_commit">>, <<"boolean">>},
             {[{post_url, ?URL}, {retry_schedule, []}], <<"retry_schedule">>, <<"Empty">>},
             {[{post_url, ?URL}, {retry_schedule, 5}], <<"retry_schedule">>, <<"list">>},
             {[{post_url, ?URL}, {retry_schedule, [1, 0]}], <<"retry_schedule">>, <<"positive integer">>},
             {[{post_url, ?URL}, {retry_schedule, [<<"2 days">>]}], <<"retry_schedule">>, <<"86400000">>},
             {[{post_url, ?URL}, {max_age, 0}], <<"max_age">>, <<"positive integer">>},
             {[{post_url, ?URL}, {max_age, <<"4000 days">>}], <<"max_age">>, <<"315360000000">>},
             {[{post_url, ?URL}, {max_age, [{calls, 60}]}], <<"max_age">>, <<"Did you mean call">>},
             {[{post_url, ?URL}, {max_age, [{call, 0}]}], <<"max_age->call">>, <<"positive integer">>},
             {[{post_url, ?URL}, {max_age, [{call, <<"soon">>}]}], <<"max_age->call">>, <<"integer">>},
             {[{post_url, ?URL}, {max_age, [{call, 1}, {call, 2}]}], <<"max_age">>, <<"Duplicated">>},
             {[{post_url, ?URL}, {max_age, []}], <<"max_age">>, <<"a map from kinds of message to times">>},
             {[{post_url, ?URL}, {max_age, [1, 2]}], <<"max_age">>, <<"a map from kinds of message to times">>},
             {[{post_url, ?URL}, {order, sender}], <<"order">>, <<"recipient">>},
             {[{post_url, ?URL}, {dead_letter_retention, <<"never">>}], <<"dead_letter_retention">>, <<"integer">>},
             {[{post_url, ?URL}, {dead_letter_limit, -1}], <<"dead_letter_limit">>, <<"integer">>},
             {[{post_url, ?URL}, {triggers, []}], <<"triggers">>, <<"Empty list">>},
             {[{post_url, ?URL}, {triggers, [online]}], <<"triggers">>, <<"offline, pending">>},
             {[{post_url, ?URL}, {triggers, [offline, offline]}], <<"triggers">>, <<"Duplicated value">>},
             {[{post_url, ?URL}, {triggers, offline}], <<"triggers">>, <<"list">>},
             {[{post_url, ?URL}, {notify, []}], <<"notify">>, <<"Empty list">>},
             {[{post_url, ?URL}, {notify, [texts]}], <<"notify">>, <<"Did you mean text">>},
             {[{post_url, ?URL}, {groupchat, mix}], <<"groupchat">>, <<"members, mucsub, none">>},
             {[{post_url, ?URL}, {members_notify, some}], <<"members_notify">>, <<"all, mentions">>},
             {[{post_url, ?URL}, {include_body, <<>>}], <<"include_body">>, <<"Empty">>},
             {[{post_url, ?URL}, {include_body, 7}], <<"include_body">>, <<"expected true, false or a text">>},
             {[{post_url, ?URL}, {include_body, []}], <<"include_body">>, <<"expected true, false or a text">>},
             {[{post_url, ?URL}, {include_body, [{defaults, true}]}], <<"include_body">>, <<"Did you mean default">>},
             {[{post_url, ?URL}, {include_body, [{default, [1]}]}], <<"include_body->default">>, <<"expected true, false or a text">>},
             {[{post_url, ?URL}, {include_sender, <<"sometimes">>}], <<"include_sender">>, <<"boolean">>},
             {[{post_url, ?URL}, {collapse, sender}], <<"collapse">>, <<"conversation, none, recipient">>},
             {[{post_url, ?URL}, {collapse_interval, 0}], <<"collapse_interval">>, <<"positive integer">>},
             {[{post_url, ?URL}, {collapse_interval, <<"often">>}], <<"collapse_interval">>, <<"integer">>},
             {[{post_url, ?URL}, {max_rate, 5}], <<"max_rate">>, <<"map">>},
             {[{post_url, ?URL}, {max_rate, [{beyond, drop}]}], <<"max_rate">>, <<"expected per_sender or per_recipient">>},
             {[{post_url, ?URL}, {max_rate, [{per_sender, 0}]}], <<"max_rate->per_sender">>, <<"from 1 to">>},
             {[{post_url, ?URL}, {max_rate, [{per_sender, 1}, {beyond, wait}]}], <<"max_rate->beyond">>, <<"collapse, drop">>},
             {[{post_url, ?URL}, {badge, true}], <<"badge">>, <<"events, none, stored">>},
             {[{post_url, ?URL}, {metrics_token, <<"geheim">>}], <<"metrics_token">>, <<"openssl rand -hex 32">>},
             {[{post_url, ?URL}, {metrics_token, <<>>}], <<"metrics_token">>, <<"16 or more">>},
             {[{post_url, ?URL}, {metrics_token, <<"geheim geheim geheim">>}], <<"metrics_token">>, <<"without spaces">>},
             {[{post_url, ?URL}, {metrics_token, <<"geheim-geheim-geheim\n">>}], <<"metrics_token">>, <<"ASCII">>},
             {[{post_url, ?URL}, {auth_token, <<"geheim\nX-Injected: y">>}], <<"auth_token">>, <<"control characters">>},
             {[{post_url, ?URL}, {auth_token, <<"geheim", 0>>}], <<"auth_token">>, <<"control characters">>}]].

%% Of presence there are no kinds.
presence_test_() ->
    Type = mod_available_post:mod_opt_type(max_age),
    [?_assertEqual(2000, Type(2)), ?_assertEqual(500, Type(<<"500 ms">>)), ?_assertError({invalid_syntax, _}, plain(Type, [{default, 2}])),
     ?_assertError({invalid_syntax, _}, plain(Type, []))].

plain(Type, Value) ->
    case econf:validate(Type, Value) of
        {ok, Valid} -> Valid;
        {error, Reason, _} -> error(Reason)
    end.

%% ejabberd asks for options when it has loaded only the main module of a new version.
upgrade_test_() ->
    {setup, fun offline_post_vm:start/0, fun offline_post_vm:stop/1,
     fun(Vm) ->
             {"helpers of before an upgrade", {timeout, 60, fun() ->
                 ok = offline_post_vm:fake(Vm, mod_offline_post_options,
                                           "-module(mod_offline_post_options).\n-export([defaults/0]).\ndefaults() -> [post_url].\n"),
                 ok = offline_post_vm:fake(Vm, mod_offline_post_yaml,
                                           "-module(mod_offline_post_yaml).\n-export([check/2]).\ncheck(_, _) -> old.\n"),
                 ?assertEqual(mod_offline_post:mod_options(<<"h">>),
                              offline_post_vm:call(Vm, mod_offline_post, mod_options, [<<"h">>])),
                 ?assertEqual(?URL, offline_post_vm:call(Vm, mod_offline_post_yaml, check, [post_url, ?URL]))
             end}}
     end}.

%% Each option is documented, and nothing else is.
documentation_test() ->
    #{desc := _, opts := Documented, example := _} = mod_offline_post:mod_doc(),
    ?assertEqual(lists:sort(options()), lists:sort([Option || {Option, _} <- Documented])),
    [?assertMatch(#{value := _, desc := _}, Doc) || {_, Doc} <- Documented],
    ?assertEqual([], [Option || {Option, #{desc := Text}} <- Documented, re:run(Text, "\\{[a-z]") =/= nomatch]).

%% Each option has its getter.
getters_test() ->
    {ok, Opts} = load([{post_url, ?URL}]),
    [?assertEqual(maps:get(Option, Opts), mod_offline_post_opt:Option(Opts)) || Option <- options()].

%% What notify names is what there is.
kinds_test() ->
    {ok, #{notify := Kinds}} = load([{post_url, ?URL}, {notify, mod_offline_post_kind:kinds()}]),
    ?assertEqual(mod_offline_post_kind:kinds(), Kinds).

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
