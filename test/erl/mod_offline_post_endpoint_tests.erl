%% From options to what the native side is given, and what is said of a backlog that is left behind.
-module(mod_offline_post_endpoint_tests).

-include_lib("eunit/include/eunit.hrl").

-define(HOST, <<"a.example">>).
-define(URL, <<"https://push.example.org/offline">>).

endpoint_test_() ->
    {setup, fun setup/0, fun offline_post_vm:stop/1,
     fun(Vm) -> [{Name, {timeout, 60, fun() -> Test(Vm) end}} ||
                    {Name, Test} <- [{"defaults", fun defaults/1}, {"in memory", fun in_memory/1}, {"as written", fun as_written/1},
                                     {"what does nothing", fun warnings/1}, {"rates", fun rates/1}, {"ages", fun ages/1}, {"a refusal", fun refusal/1},
                                     {"of a sibling", fun presence/1},
                                     {"left behind", fun left_behind/1}]]
     end}.

defaults(Vm) ->
    Config = configured(Vm, #{}),
    ?assertMatch(#{post_url := ?URL, spool := true, queue_bytes := 8589934592, spool_min_free := 268435456, order := recipient,
                   max_age := 86400000, max_ages := [{<<"call">>, 60000}, {<<"call_end">>, 60000}], dead_letter_retention := 604800000, dead_letter_limit := 100000,
                   retry_schedule := [1000, 2000 | _], ca_file := <<>>, collapse_interval := 0, rate_sender := 0,
                   rate_recipient := 0, rate_beyond := collapse, form := message, format := form, content_type := <<>>,
                   fields := none, room_fields := none, headers := [], auth := body, signing_secrets := [], batch := none,
                   compress := none, traceparent := false, http_version := auto, client_cert := <<>>, client_key := <<>>, proxy := <<>>}, Config),
    %% ejabberd's own directory, whatever it is called from where.
    Mnesia = filename:absname(list_to_binary(offline_post_vm:call(Vm, mnesia, system_info, [directory]))),
    ?assertEqual(Mnesia, maps:get(spool_dir, Config)).

in_memory(Vm) ->
    ?assertMatch(#{spool := false, queue_bytes := 268435456}, configured(Vm, #{spool => false})).

as_written(Vm) ->
    Written = #{spool_dir => <<"/var/spool/x">>, queue_bytes => 1000, retry_schedule => [5], order => none, max_age => 7,
                dead_letter_retention => 8, dead_letter_limit => 0, spool_min_free => 0, format => json,
                content_type => <<"a/b">>, fields => [{<<"a">>, <<"{{to}}">>}], room_fields => [{<<"b">>, 1}],
                headers => [{<<"X-A">>, <<"{{id}}">>}], auth => bearer, signing_secrets => [<<"whsec_x">>], compress => gzip,
                http_version => http2, client_cert => <<"/c.pem">>, client_key => <<"/k.pem">>,
                proxy => <<"http://p.example:3128">>},
    ?assertEqual(Written, maps:with(maps:keys(Written), configured(Vm, Written))),
    ?assertMatch(#{batch := {7, 50, 2000, ndjson}},
                 configured(Vm, #{batch => #{max_events => 7, max_delay => 50, max_bytes => 2000, format => ndjson}})),
    ?assertMatch(#{queue_bytes := 1000}, configured(Vm, #{spool => false, queue_bytes => 1000})).

%% An option that has no effect beside another is said to have none.
warnings(Vm) ->
    [begin
         ok = set(Vm, log, []),
         configured(Vm, Options),
         said(Text, offline_post_vm:call(Vm, persistent_term, get, [{fake, log}]))
     end || {Options, Text} <-
                [{#{sync_commit => true}, none}, {#{spool => false}, none},
                 {#{sync_commit => true, spool => false}, "sync_commit has no effect for a.example"},
                 {#{max_rate => #{per_sender => 5}}, none},
                 {#{max_rate => #{per_recipient => 5}, include_sender => false}, none},
                 {#{max_rate => #{per_sender => 5}, include_sender => false}, "per_sender has no effect for a.example"},
                 {#{notify => [text, call, call_end]}, none},
                 {#{notify => [text, call_end]}, "call_end in notify has no effect for a.example"}]].

rates(Vm) ->
    [?assertMatch(#{rate_sender := Sender, rate_recipient := Recipient, rate_beyond := Beyond, collapse_interval := Interval},
                  configured(Vm, Options)) ||
        {Options, Sender, Recipient, Beyond, Interval} <-
            [{#{collapse_interval => 60000}, 0, 0, collapse, 60000},
             {#{max_rate => #{per_sender => 5}}, 5, 0, collapse, 0},
             {#{max_rate => #{per_recipient => 6, beyond => drop}}, 0, 6, drop, 0},
             {#{max_rate => #{per_sender => 5, per_recipient => 6}, include_sender => false}, 0, 6, collapse, 0}]],
    ok = set(Vm, log, []).

%% A call has a lifetime of its own in any case, and its end has the call's.
ages(Vm) ->
    Minute = 60000,
    [begin
         #{max_age := All, max_ages := PerKind} = configured(Vm, #{max_age => MaxAge}),
         ?assertEqual({MaxAge, Default, lists:sort(Ages)}, {MaxAge, All, lists:sort(PerKind)})
     end || {MaxAge, Default, Ages} <-
                [{86400000, 86400000, [{<<"call">>, Minute}, {<<"call_end">>, Minute}]},
                 {500, 500, [{<<"call">>, 500}, {<<"call_end">>, 500}]},
                 {#{default => 70000}, 70000, [{<<"call">>, Minute}, {<<"call_end">>, Minute}]},
                 {#{text => 5}, 86400000, [{<<"call">>, Minute}, {<<"call_end">>, Minute}, {<<"text">>, 5}]},
                 {#{default => 7, call => 9}, 7, [{<<"call">>, 9}, {<<"call_end">>, 9}]},
                 {#{call_end => 8}, 86400000, [{<<"call">>, Minute}, {<<"call_end">>, 8}]},
                 {#{call => 9, call_end => 8}, 86400000, [{<<"call">>, 9}, {<<"call_end">>, 8}]}]].

%% It has the options of delivery, and no others.
presence(Vm) ->
    Delivery = [post_url, auth_token, timeout, connect_timeout, connection_max_age, max_connections, queue_limit, queue_bytes, format, content_type,
                fields, headers, auth, signing_secrets, batch, compress, traceparent, http_version, tls_verify, ca_file, client_cert,
                client_key, proxy,
                spool, spool_dir, spool_min_free, retry_schedule, max_age, order, dead_letter_retention, dead_letter_limit],
    {ok, _} = offline_post_vm:call(Vm, mod_offline_post_endpoint, configure,
                              [?HOST, mod_available_post, maps:with(Delivery, options(#{}))]),
    ?assertMatch(#{form := presence, max_ages := [], room_fields := none, post_url := ?URL, collapse_interval := 0, rate_sender := 0},
                 offline_post_vm:call(Vm, persistent_term, get, [{fake, config}])),
    ?assertEqual({?HOST, <<"mod_available_post">>}, offline_post_vm:call(Vm, persistent_term, get, [{fake, key}])).

refusal(Vm) ->
    ok = set(Vm, answer, {error, <<"no">>}),
    ?assertEqual({error, <<"no">>}, configure(Vm, #{})),
    ok = set(Vm, answer, {ok, [<<"body">>]}).

left_behind(Vm) ->
    [begin
         ok = set(Vm, log, []),
         ok = set(Vm, pending, Pending),
         ok = set(Vm, spool, Spool),
         ?assertEqual(ok, offline_post_vm:call(Vm, mod_offline_post_endpoint, remove, [?HOST])),
         said(Text, offline_post_vm:call(Vm, persistent_term, get, [{fake, log}]))
     end || {Pending, Spool, Text} <-
                [{0, durable, none}, {5, durable, "5 messages for a.example are not delivered yet: they wait on disk for the next start"},
                 {5, degraded, "5 messages for a.example are not delivered yet: they wait in memory"},
                 {5, memory, "are lost when the node stops"}, {never, durable, "not confirmed within 1050 ms"},
                 {unknown, durable, none}]].

said(none, Lines) -> ?assertEqual([], Lines);
said(Text, [Line]) -> ?assertNotEqual({nomatch, Line}, {string:find(Line, Text), Line}).

configured(Vm, Options) ->
    {ok, [<<"body">>]} = configure(Vm, Options),
    offline_post_vm:call(Vm, persistent_term, get, [{fake, config}]).

configure(Vm, Options) ->
    offline_post_vm:call(Vm, mod_offline_post_endpoint, configure, [?HOST, options(Options)]).

options(Options) ->
    Defaults = maps:from_list([Option || {_, _} = Option <- mod_offline_post:mod_options(?HOST)]),
    maps:merge(Defaults#{post_url => ?URL}, Options).

set(Vm, What, Value) ->
    offline_post_vm:call(Vm, persistent_term, put, [{fake, What}, Value]).

setup() ->
    Vm = offline_post_vm:start(),
    ok = offline_post_vm:call(Vm, logger, set_handler_config, [default, level, none]),
    ok = offline_post_vm:call(Vm, logger, set_primary_config, [level, info]),
    ok = offline_post_vm:fake(Vm, mod_offline_post_nif, fake_nif()),
    ok = offline_post_vm:call(Vm, logger, add_handler, [fake, mod_offline_post_nif, #{}]),
    ok = offline_post_vm:call(Vm, mod_offline_post_nif, loaded, [?HOST]),
    ok = set(Vm, answer, {ok, [<<"body">>]}),
    ok = set(Vm, log, []),
    Vm.

fake_nif() ->
    "-module(mod_offline_post_nif).\n"
    "-export([loaded/1, configure/2, remove/2, stats/1, log/2]).\n"
    "loaded(Host) ->\n"
    "    Self = self(),\n"
    "    spawn(fun() ->\n"
    "        ets:new(ejabberd_modules, [named_table, public, {keypos, 2}]),\n"
    "        ets:insert(ejabberd_modules, {ejabberd_module, {mod_offline_post, Host}, #{shutdown_timeout => 50}, 1}),\n"
    "        Self ! done,\n"
    "        receive never -> ok end\n"
    "    end),\n"
    "    receive done -> ok end.\n"
    "configure(Key, Config) ->\n"
    "    persistent_term:put({fake, key}, Key),\n"
    "    persistent_term:put({fake, config}, Config),\n"
    "    persistent_term:get({fake, answer}).\n"
    "remove(_, 50) ->\n"
    "    Ref = make_ref(),\n"
    "    case persistent_term:get({fake, pending}) of\n"
    "        unknown -> {error, unknown};\n"
    "        never -> {ok, Ref};\n"
    "        N -> self() ! {offline_post_removed, Ref, N}, {ok, Ref}\n"
    "    end.\n"
    "stats(_) -> #{state => stopped, spool => persistent_term:get({fake, spool})}.\n"
    "log(#{msg := {Format, [_ | _] = Args}}, _) when is_list(Format) ->\n"
    "    case lists:flatten(io_lib:format(Format, Args)) of\n"
    "        \"mod_offline_post\" ++ _ = Line -> persistent_term:put({fake, log}, [Line | persistent_term:get({fake, log})]);\n"
    "        _ -> ok\n"
    "    end;\n"
    "log(_, _) -> ok.\n".
