%% What we send, read by what others have written: signatures by the reference library of Standard Webhooks (v1) and by
%% libsodium (v1a), the recipes of docs/cloudevents.md by the CloudEvents SDK.
-module(interop_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([signed_json/1, signed_form/1, signed_batch/1, asymmetric/1, rotation/1, signed_anew/1, cloud_events/1]).

-define(OLD, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").
-define(NEW, "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD").
-define(HOSTS, ["json.localhost", "form.localhost", "batch.localhost", "asymmetric.localhost", "rotation.localhost",
                "anew.localhost"]).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [signed_json, signed_form, signed_batch, asymmetric, rotation, signed_anew, cloud_events].

needs_npm(asymmetric) -> false;
needs_npm(signed_form) -> false;
needs_npm(_) -> true.

init_per_suite(Config) ->
    Private = private_key(),
    Examples = offline_post_document:examples("docs/cloudevents.md"),
    Own = offline_post_recipes:start(Examples, ["https://backend.example"], fun(Backend) ->
                                     hosts(Backend, Private, []) end),
    [offline_post_node:register(?config(node, Own), "juliet", Host, "x") || Host <- ?HOSTS],
    [{private, Private} | Own] ++ Config.

hosts(Backend, Private, Changed) ->
    Url = ["post_url: \"", offline_post_backend:url(Backend), "\"\n"],
    [{Host, #{modules => "mod_offline: {}\n",
              offline_post => [Url, proplists:get_value(Host, Changed, options(Host, Private))]}} || Host <- ?HOSTS].

options("json.localhost", _) -> ["format: json\nsigning_secrets: [", ?OLD, "]\n"];
options("form.localhost", Private) -> ["auth_token: s3cret\nsigning_secrets: [", Private, "]\n"];
options("batch.localhost", _) -> ["format: json\nbatch:\n  max_delay: 10 ms\nsigning_secrets: [", ?OLD, "]\n"];
options("asymmetric.localhost", Private) -> ["format: json\ncompress: gzip\nsigning_secrets: [", Private, "]\n"];
options("rotation.localhost", Private) ->
    ["format: json\nsigning_secrets: [", lists:join(", ", [?OLD, ?NEW, Private]), "]\n"];
%% Apart by more than a second, whatever the jitter.
options("anew.localhost", _) -> ["format: json\nretry_schedule: [2 s]\nsigning_secrets: [", ?OLD, "]\n"].

%% As docs/formats.md says it is made: the seed, then the public key.
private_key() ->
    {Public, Seed} = crypto:generate_key(eddsa, ed25519),
    "whsk_" ++ base64:encode_to_string(<<Seed/binary, Public/binary>>).

%% Where the npm packages are; or why not.
npm() ->
    Dir = filename:join([offline_post_node:root(), "build", "interop"]),
    Port = offline_post_port:open(filename:join(interop(), "install"), [Dir], [stderr_to_stdout]),
    case offline_post_port:await_exit(Port, 100000) of
        0 -> {ok, filename:join(Dir, "node_modules")};
        77 -> {skip, binary_to_list(string:trim(offline_post_port:output(Port)))};
        Status -> ct:fail({npm, Status, offline_post_port:output(Port)})
    end.

interop() ->
    filename:join([offline_post_node:root(), "test", "interop"]).

end_per_suite(Config) ->
    offline_post_suite:finish(Config).

init_per_testcase(Case, Config) ->
    case needs_npm(Case) andalso npm() of
        {skip, Why} -> {skip, Why};
        Modules -> offline_post_recipes:init([{npm, Modules} | Config])
    end.

end_per_testcase(_Case, Config) ->
    [?assertEqual([], offline_post_law:violations(offline_post_node:stats(?config(node, Config), Host))) ||
     Host <- ?HOSTS].

%%% Signatures

signed_json(Config) ->
    #{headers := Headers, body := Body} = Post = posted(Config, "json.localhost", "Good night & à demain! 🌹"),
    ?assertEqual("verified", v1(Config, ?OLD, Post)),
    %% Whatever is changed is noticed, and so is somebody else's secret.
    Refused = "refused: No matching signature found",
    ?assertEqual(Refused, v1(Config, ?NEW, Post)),
    ?assertEqual(Refused, v1(Config, ?OLD, Post#{body := <<Body/binary, " ">>})),
    [?assertEqual({Name, Refused},
                  {Name, v1(Config, ?OLD, Post#{headers := lists:keyreplace(Name, 1, Headers, {Name, Value})})}) ||
        {Name, Value} <- [{<<"webhook-id">>, <<"msg_b9d1f3a07c5e2468_1f">>},
                          {<<"webhook-timestamp">>, integer_to_binary(timestamp(Post) + 1)}]],
    ?assert(abs(timestamp(Post) - erlang:system_time(second)) < 60).

%% The reference library takes nothing but JSON.
signed_form(Config) ->
    #{body := Body} = Post = posted(Config, "form.localhost", "Good night & à demain!"),
    ?assertMatch(<<"to=juliet&from=romeo&body=Good%20night%20%26", _/binary>>, Body),
    ?assertEqual("verified", v1a(Config, ?config(private, Config), Post)).

signed_batch(Config) ->
    #{body := <<"[{", _/binary>>} = Post = posted(Config, "batch.localhost", "Good night"),
    ?assertEqual("verified", v1(Config, ?OLD, Post)).

%% Over the bytes that are sent: here compressed ones.
asymmetric(Config) ->
    #{headers := Headers} = Post = posted(Config, "asymmetric.localhost", lists:duplicate(500, "sweet sorrow ")),
    ?assertEqual(<<"gzip">>, proplists:get_value(<<"content-encoding">>, Headers)),
    ?assertMatch(<<"v1a,", _/binary>>, signatures(Post)),
    ?assertEqual("verified", v1a(Config, ?config(private, Config), Post)),
    ?assertMatch("refused: none of 1 " ++ _, v1a(Config, private_key(), Post)),
    ?assertMatch("refused: none of 1 " ++ _,
                 v1a(Config, ?config(private, Config),
                     Post#{headers := lists:keyreplace(<<"webhook-timestamp">>, 1, Headers,
                                                       {<<"webhook-timestamp">>,
                                                        integer_to_binary(timestamp(Post) + 1)})})).

%% A receiver with either secret takes it; after the old one is taken out, one with the new.
rotation(Config) ->
    Post = posted(Config, "rotation.localhost", "Good night"),
    ?assertMatch([<<"v1,", _/binary>>, <<"v1,", _/binary>>, <<"v1a,", _/binary>>],
                 binary:split(signatures(Post), <<" ">>, [global])),
    ?assertEqual(["verified", "verified"], [v1(Config, Secret, Post) || Secret <- [?OLD, ?NEW]]),
    ?assertEqual("verified", v1a(Config, ?config(private, Config), Post)),
    reload(Config, [{"rotation.localhost", ["format: json\nsigning_secrets: [", ?NEW, "]\n"]}]),
    Later = posted(Config, "rotation.localhost", "Good night"),
    ?assertEqual(["refused: No matching signature found", "verified"],
                 [v1(Config, Secret, Later) || Secret <- [?OLD, ?NEW]]).

%% Each attempt has its own time and signature, and the same id.
signed_anew(Config) ->
    Backend = ?config(backend, Config),
    offline_post_backend:set(Backend, {reply, 503}),
    First = posted(Config, "anew.localhost", "Good night"),
    offline_post_backend:set(Backend, {reply, 200}),
    Second = offline_post_backend:await(Backend),
    Id = fun(#{headers := Headers}) -> proplists:get_value(<<"webhook-id">>, Headers) end,
    ?assertEqual({Id(First), maps:get(body, First)}, {Id(Second), maps:get(body, Second)}),
    ?assert(timestamp(Second) > timestamp(First)),
    ?assertNotEqual(signatures(First), signatures(Second)),
    ?assertEqual(["verified", "verified"], [v1(Config, ?OLD, Post) || Post <- [First, Second]]).

%%% CloudEvents

cloud_events(Config) ->
    Read = fun(N, Subject) ->
                   offline_post_document:normal(
                     unicode:characters_to_binary(
                       ["{\"id\":\"msg_b9d1f3a07c5e2468_1f\",\"source\":\"xmpp:", offline_post_recipes:host(N),
                        "\",\"specversion\":\"1.0\",\"type\":\"org.example.message.text\",\"time\":\"2026-11-22T21:40:07.125Z\",",
                        Subject, "\"datacontenttype\":\"application/json\",\"data\":{"])) end,
    Data = ["\"from\":\"romeo@verona.example/balcony\",\"body\":\"", offline_post_recipes:text(), "\",\"count\":1}}"],
    [begin
         Post = offline_post_recipes:say(Config, N),
         ?assertEqual({Title, same}, {Title, offline_post_recipes:compare(N, Shown, Post)}),
         To = ["juliet@", offline_post_recipes:host(N)],
         {Subject, Before} = case Title of
                                 "Binary mode" -> {"", ["\"to\":\"", To, "\","]};
                                 _ -> {["\"subject\":\"", To, "\","], ""}
                             end,
         ?assertEqual({Title, unicode:characters_to_list([Read(N, Subject), Before, Data])},
                      {Title, unicode:characters_to_list(
                                offline_post_document:normal(
                                  unicode:characters_to_binary(node(Config, ["cloudevent.js"], Post))))})
     end || {N, Title, [Shown]} <- offline_post_recipes:vhosts(Config, all)],
    ?assertEqual(["Binary mode", "Structured mode", "Batched mode"],
                 [Title || {_, Title, _} <- offline_post_recipes:vhosts(Config, all)]).

%%%

posted(Config, Host, Text) ->
    offline_post_node:route(?config(node, Config), "romeo@verona.example/balcony", ["juliet@", Host],
                            offline_post_client:escape(unicode:characters_to_list(Text))),
    offline_post_backend:await(?config(backend, Config)).

reload(Config, Changed) ->
    Backend = ?config(backend, Config),
    ok = offline_post_node:reload(?config(node, Config),
                                  #{hosts => ?config(hosts, Config) ++ hosts(Backend, ?config(private, Config),
                                                                             Changed)}).

signatures(#{headers := Headers}) -> proplists:get_value(<<"webhook-signature">>, Headers).
timestamp(#{headers := Headers}) -> binary_to_integer(proplists:get_value(<<"webhook-timestamp">>, Headers)).

v1(Config, Secret, Post) ->
    node(Config, ["verify.js", Secret], Post).

v1a(Config, Secret, Post) ->
    run([filename:join(interop(), "verify_v1a.py"), " ", Secret], Config, Post).

node(Config, [Script | Arguments], Post) ->
    {ok, Modules} = ?config(npm, Config),
    run(["NODE_PATH=", Modules, " node ", lists:join($\s, [filename:join(interop(), Script) | Arguments])], Config,
        Post).

%% What the program prints about the POST.
run(Command, Config, #{headers := Headers, body := Body}) ->
    File = filename:join(?config(priv_dir, Config), "post" ++ integer_to_list(erlang:unique_integer([positive]))),
    ok = file:write_file(File, [[[Name, ": ", Value, "\r\n"] || {Name, Value} <- Headers], "\r\n", Body]),
    string:trim(os:cmd(lists:flatten([Command, " ", File]))).
