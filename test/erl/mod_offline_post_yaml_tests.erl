%% What an operator writes of formats, templates, headers, secrets and connections, from the text in ejabberd.yml on: read
%% as ejabberd reads it, checked by its validators and the native library. A mistake is named, with what would be right
%% and without a secret.
-module(mod_offline_post_yaml_tests).

-include_lib("eunit/include/eunit.hrl").

-define(SECRET, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").

%% YAML, and what the option becomes.
accepted_test_() ->
    [{Yaml, ?_assertMatch({ok, #{Option := Expected}}, load(Yaml))} ||
        {Yaml, Option, Expected} <-
            [{"format: json", format, json}, {"format: stanza", format, stanza}, {"format: \"form\"", format, form},
             {"content_type: application/vnd.example+json", content_type, <<"application/vnd.example+json">>},
             {"content_type: \"text/plain; charset=utf-8\"", content_type, <<"text/plain; charset=utf-8">>},
             {"auth: bearer", auth, bearer}, {"auth: header", auth, header}, {"compress: gzip", compress, gzip}, {"traceparent: true", traceparent, true},
             {"http_version: 1.1", http_version, http1}, {"http_version: 2", http_version, http2},
             {"http_version: \"2\"", http_version, http2}, {"http_version: auto", http_version, auto},
             {"proxy: none", proxy, none}, {"proxy: \"http://me:geheim@proxy.example:3128\"", proxy,
                                            <<"http://me:geheim@proxy.example:3128">>},
             {"batch: none", batch, none},
             {"batch: {}", batch, #{max_events => 100, max_delay => 100, max_bytes => 1048576, format => array}},
             {"batch: {max_events: 2, max_delay: 5 s, max_bytes: 2048, format: ndjson}", batch,
              #{max_events => 2, max_delay => 5000, max_bytes => 2048, format => ndjson}},
             {"signing_secrets: []", signing_secrets, []},
             {"signing_secrets: [\"" ?SECRET "\", " ?SECRET "]", signing_secrets, [<<?SECRET>>, <<?SECRET>>]},
             {"headers: {}", headers, []},
             {"headers: {X-To: \"{{to.bare}}\", X-Priority: 5, authorization: \"key={{token}}\"}\n", headers,
              [{<<"X-To">>, <<"{{to.bare}}">>}, {<<"X-Priority">>, <<"5">>}, {<<"authorization">>, <<"key={{token}}">>}]},
             {"headers:\n  X-Plain: so {{id}}\n", headers, [{<<"X-Plain">>, <<"so {{id}}">>}]},
             {"fields: none", fields, none}, {"fields: {}", fields, []},
             {"post_url: \"https://push.example.org/{{to.user}}?host={{ host }}\"", post_url,
              <<"https://push.example.org/{{to.user}}?host={{ host }}">>}]].

%% In their order; without quotes or with; what is no text stays what it is.
fields_test_() ->
    [{Yaml, ?_assertMatch({ok, #{Option := Expected}}, load([atom_to_list(Option), ":\n", Yaml]))} ||
        Option <- [fields, room_fields],
        {Yaml, Expected} <-
            [{"  z: \"{{to}}\"\n  a: \"{{from|sender}}\"\n  m: x\n", [{<<"z">>, <<"{{to}}">>}, {<<"a">>, <<"{{from|sender}}">>}, {<<"m">>, <<"x">>}]},
             {"  a: 1\n  b: -2.5\n  c: true\n  d: false\n  e: null\n  f: ~\n  g:\n  h: \"1\"\n  i: \"true\"\n  j: yes\n",
              [{<<"a">>, 1}, {<<"b">>, -2.5}, {<<"c">>, true}, {<<"d">>, false}, {<<"e">>, null}, {<<"f">>, null}, {<<"g">>, <<>>},
               {<<"h">>, <<"1">>}, {<<"i">>, <<"true">>}, {<<"j">>, <<"yes">>}]},
             {"  1: a\n  true: b\n  null: c\n  1.5: d\n  \"e f\": g\n  grün: größe {{to}}\n",
              [{<<"1">>, <<"a">>}, {<<"true">>, <<"b">>}, {<<"null">>, <<"c">>}, {<<"1.5">>, <<"d">>}, {<<"e f">>, <<"g">>},
               {<<"grün"/utf8>>, <<"größe {{to}}"/utf8>>}]},
             {"  aps:\n    alert: {title: \"{{nick}}\", body: \"{{body}}\"}\n    badge: \"{{badge}}\"\n  list: [1, a, [], [b], {c: d}]\n",
              [{<<"aps">>, {map, [{<<"alert">>, {map, [{<<"title">>, <<"{{nick}}">>}, {<<"body">>, <<"{{body}}">>}]}},
                                  {<<"badge">>, <<"{{badge}}">>}]}},
               {<<"list">>, {list, [1, <<"a">>, {list, []}, {list, [<<"b">>]}, {map, [{<<"c">>, <<"d">>}]}]}}]},
             {"  text: |\n    From {{from}}:\n    {{body}}\n", [{<<"text">>, <<"From {{from}}:\n{{body}}\n">>}]}]].

%% What it says, besides the option's name.
refused_test_() ->
    Names = ["stanza.id", "to.bare", "timestamp.unix"],
    Quotes = ["double quotes"],
    [{title(Yaml), fun() -> refused(Yaml, Where, Parts) end} ||
        {Yaml, Where, Parts} <-
            [{"format: xml", "format", ["form, json, stanza"]},
             {"content_type: json", "content_type", ["application/json"]},
             {"content_type: \"text/plain\\r\\nX: y\"", "content_type", ["media type"]}, {"content_type: 5", "content_type", ["string"]},
             {"fields: \"{{to}}\"", "fields", ["Expected map"]}, {"fields: [a, b]", "fields", ["Expected map"]},
             {"fields: {to: {{to}}}", "fields->to", Quotes}, {"fields: {a: [{{to}}]}", "fields->a->1", Quotes},
             {"fields: {a: {b: {{to}}}}", "fields->a->b", Quotes}, {"fields: {{to}}", "fields", Quotes},
             {"fields: {a: x, a: y}", "fields", ["Duplicated key: a"]}, {"fields: {b: {a: x, \"a\": y}}", "fields->b", ["Duplicated key: a"]},
             {"fields: {\"\": x}", "fields", ["empty"]},
             {"fields: {a: \"{{too}}\"}", "fields", ["too" | Names]}, {"fields: {a: {b: [x, \"{{to.nick}}\"]}}", "fields", ["to.nick" | Names]},
             {"fields: {a: \"{{to\"}", "fields", ["{{"]}, {"fields: {a: \"{{}}\"}", "fields", Names},
             {"fields: {a: \"{{to|}}\"}", "fields", Names}, {["fields: ", nested(33)], "fields", ["too deeply"]},
             {["fields: {a: ", lists:duplicate(33, $[), "b", lists:duplicate(33, $]), "}"], "fields", ["too deeply"]},
             {"room_fields: {a: \"{{too}}\"}", "room_fields", ["too" | Names]},
             {"headers: X-A", "headers", ["Expected map"]}, {"headers: {X-A: {{to}}}", "headers->X-A", Quotes},
             {"headers: {X-A: [b]}", "headers->X-A", ["got a list"]}, {"headers: {X-A: {b: c}}", "headers->X-A", ["got a map"]},
             {"headers: {X-A: \"{{too}}\"}", "headers", ["X-A", "too" | Names]},
             {"headers: {Host: a}", "headers", ["Host"]}, {"headers: {content-length: 5}", "headers", ["content-length"]},
             {"headers: {Webhook-Id: a}", "headers", ["Webhook-Id"]}, {"headers: {Proxy-Authorization: geheim}", "headers", ["Proxy-Authorization"]},
             {"headers: {\"X A\": a}", "headers", ["X A"]}, {"headers: {\"X-A:\": a}", "headers", ["X-A:"]},
             {"headers: {X-A: \"geheim\\r\\nX-B: y\"}", "headers", ["X-A"]}, {"headers: {X-A: \"geheim\\0\"}", "headers", ["X-A"]},
             {"headers: {X-A: b, x-a: c}", "headers", ["x-a"]},
             {"auth: digest", "auth", ["basic, bearer, body, header"]},
             {"signing_secrets: " ?SECRET, "signing_secrets", ["list"]}, {"signing_secrets: [\"\"]", "signing_secrets", ["Empty"]},
             {"signing_secrets: [geheim]", "signing_secrets", ["whsec_"]}, {"signing_secrets: [whsec_geheim]", "signing_secrets", []},
             {"signing_secrets: [whsec_]", "signing_secrets", []}, {"signing_secrets: [\"whsec_Z2VoZWlt\"]", "signing_secrets", ["24"]},
             {"signing_secrets: [whsk_Z2VoZWlt]", "signing_secrets", ["64"]}, {"signing_secrets: [5]", "signing_secrets", ["string"]},
             {"signing_secrets: [\"" ?SECRET "geheim%\"]", "signing_secrets", []},
             {"batch: 5", "batch", ["map"]}, {"batch: true", "batch", ["map"]}, {"batch: {max_events: 1}", "batch->max_events", ["from 2 to 1000"]},
             {"batch: {max_events: 1001}", "batch->max_events", ["from 2 to 1000"]}, {"batch: {max_delay: 1 hour}", "batch->max_delay", ["600000"]},
             {"batch: {max_bytes: 10}", "batch->max_bytes", ["1024"]}, {"batch: {format: xml}", "batch->format", ["array, ndjson"]},
             {"batch: {max_event: 5}", "batch", ["Did you mean max_events"]},
             {"compress: zip", "compress", ["gzip, none"]}, {"http_version: 3", "http_version", ["auto, 1.1 or 2"]},
             {"http_version: 1.0", "http_version", ["auto, 1.1 or 2"]}, {"http_version: [2]", "http_version", ["auto, 1.1 or 2"]},
             {"client_cert: /nowhere/c.pem", "client_cert", ["no such file", "/nowhere/c.pem"]},
             {"client_cert: /etc/hostname", "client_cert", ["no PEM certificate", "/etc/hostname"]},
             {"client_key: /nowhere/k.pem", "client_key", ["no such file"]},
             {"client_key: /etc/hostname", "client_key", ["no PEM private key"]},
             {"proxy: \"proxy.example:3128\"", "proxy", ["http://"]}, {"proxy: \"socks5://me:geheim@p.example\"", "proxy", ["http://"]},
             {"proxy: \"http://me:geheim@p.example:x\"", "proxy", []}, {"proxy: \"http://me:geheim@\"", "proxy", []},
             {"proxy: \"http://me:geheim@p.example/path\"", "proxy", []}, {"proxy: \"http://me:geheim p@p.example\"", "proxy", ["http://"]},
             {"post_url: \"https://a.example/{{too}}\"", "post_url", ["too" | Names]}, {"post_url: \"https://a.example/{{to\"", "post_url", ["{{"]},
             {"post_url: \"https://{{host}}/x\"", "post_url", ["path"]}, {"post_url: \"https://a.example:{{id}}/x\"", "post_url", ["path"]},
             {"post_url: \"{{body}}\"", "post_url", ["http://"]}, {"post_url: \"https://me:geheim@a.example:x/\"", "post_url", []},
             {"post_url: \"https://me:geheim@a.example/ x\"", "post_url", ["percent-encode"]},
             {"post_url: \"geheim://a.example/\"", "post_url", ["http://"]}]].

%% A key that needs a pass phrase cannot be used by a server.
key_test_() ->
    {setup, fun() -> string:trim(os:cmd("mktemp -d")) end, fun(Dir) -> ok = file:del_dir_r(Dir) end,
     fun(Dir) ->
             [{Head, fun() ->
                             File = filename:join(Dir, "key.pem"),
                             ok = file:write_file(File, ["-----BEGIN ", Head, "-----\ngeheim\n"]),
                             Yaml = ["client_key: ", File],
                             case Expected of
                                 ok -> ?assertMatch({ok, #{client_key := _}}, load(Yaml));
                                 refused -> refused(Yaml, "client_key", ["without a pass phrase", File])
                             end
                     end} ||
                 {Head, Expected} <- [{"PRIVATE KEY", ok}, {"EC PRIVATE KEY", ok}, {"RSA PRIVATE KEY", ok},
                                      {"ENCRYPTED PRIVATE KEY", refused}, {"CERTIFICATE", refused},
                                      {"RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n-----END", refused}]]
     end}.

%% Without the native library templates are checked when the module starts, and not here.
without_library_test_() ->
    {setup, fun offline_post_vm:start/0, fun offline_post_vm:stop/1,
     fun(Vm) ->
             [{Name, {timeout, 60, fun() ->
                  ok = offline_post_vm:fake(Vm, mod_offline_post_nif, "-module(mod_offline_post_nif).\n" ++ Source),
                  ?assertEqual([{<<"a">>, <<"{{too}}">>}],
                               offline_post_vm:call(Vm, mod_offline_post_yaml, fields, [[{a, <<"{{too}}">>}]]))
              end}} || {Name, Source} <- [{"older", "-export([info/0]).\ninfo() -> #{}.\n"},
                                          {"not loaded", "-export([check/2]).\ncheck(_, _) -> erlang:nif_error(not_loaded).\n"}]]
     end}.

refused(Yaml, Where, Parts) ->
    {error, Reason, Context} = load(Yaml),
    Message = unicode:characters_to_binary(econf:format_error(Reason, Context)),
    [?assertNotEqual({Part, nomatch, Message}, {Part, binary:match(Message, iolist_to_binary(Part)), Message}) ||
        Part <- ["option " ++ Where | Parts]],
    [?assertEqual({nomatch, Message}, {binary:match(Message, Secret), Message}) ||
        Secret <- [<<"geheim">>, <<?SECRET>>, <<"Z2VoZWlt">>]].

title(Yaml) -> string:slice(lists:flatten(Yaml), 0, 60).

nested(1) -> "{a: b}";
nested(Depth) -> ["{a: ", nested(Depth - 1), "}"].

%% As ejabberd_config and gen_mod do it.
load(Yaml) ->
    {ok, _} = application:ensure_all_started(fast_yaml),
    {ok, [Given]} = fast_yaml:decode(unicode:characters_to_binary([Yaml, $\n]), [plain_as_atom]),
    Defaults = mod_offline_post:mod_options(<<"a.example">>),
    Validators = maps:from_list([{Option, mod_offline_post:mod_opt_type(Option)} || {Option, _} <- [{post_url, x} | Defaults -- [post_url]]]),
    case econf:validate(econf:options(Validators, [{return, map}, unique]), Given) of
        {ok, Options} -> {ok, maps:merge(maps:from_list(Defaults -- [post_url]), Options)};
        Error -> Error
    end.
