%% The README's configurations, as they stand there.
-module(recipes_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2]).
-export([four/1, original/1, signed/1, batched/1, prowl/1]).

-define(KEY, "0123456789abcdef0123456789abcdef01234567").
-define(TIMEOUT, 20000).

suite() -> [{timetrap, {minutes, 2}}].

all() -> [four, original, signed, batched, prowl].

init_per_suite(Config) ->
    Prowl = offline_post_port:open(filename:join([offline_post_node:root(), "test", "support", "prowl.py"]), [?KEY],
                                   [{line, 65536}]),
    "listening " ++ Port = line(Prowl),
    Own = offline_post_recipes:start(offline_post_document:examples("README.md"),
                                     ["https://backend.example.org", {"https://api.prowlapp.com", "http://localhost:" ++
                                                                      Port}],
                                     fun(_Backend) -> [] end),
    [{prowl, Prowl} | Own] ++ Config.

end_per_suite(Config) ->
    offline_post_suite:finish(Config),
    port_close(offline_post_port:take(?config(prowl, Config))).

init_per_testcase(_Case, Config) ->
    offline_post_port:take(?config(prowl, Config)),
    offline_post_recipes:init(Config).

%%%

%% There is no other YAML in it.
four(Config) ->
    ?assertEqual(["As the original", "JSON, signed", "In batches, compressed", "To Prowl"],
                 [Title || {_, Title, _} <- offline_post_recipes:vhosts(Config, all)]).

%% What "What arrives" shows, with all its headers.
original(Config) ->
    [Shown] = [Text || {"What arrives", Blocks} <- offline_post_document:sections("README.md"),
               {"http", Text} <- Blocks],
    Port = integer_to_list(offline_post_backend:port(?config(backend, Config))),
    [Expected] = offline_post_document:posts(
                   offline_post_document:replace(Shown, [{"backend.example.org", "localhost:" ++ Port}])),
    ?assertEqual(same, offline_post_document:compare(Expected, said(Config, "As the original", "Good night!"))).

signed(Config) ->
    #{headers := Headers, body := Body} = said(Config, "JSON, signed", "Good night!"),
    [Id, Timestamp, Signature] = [proplists:get_value(Name, Headers) ||
                                     Name <- [<<"webhook-id">>, <<"webhook-timestamp">>, <<"webhook-signature">>]],
    Key = <<"not a secret: make one of your own">>,
    ?assertEqual(iolist_to_binary(["v1,",
                                   base64:encode(crypto:mac(hmac, sha256, Key, [Id, ".", Timestamp, ".", Body]))]),
                                       Signature),
    ?assertMatch({match, _}, re:run(Body, "^{\"type\":\"message.offline\",.*\"body\":\"Good night!\"")).

batched(Config) ->
    #{headers := Headers, body := Body} = said(Config, "In batches, compressed", lists:duplicate(100, "Good night! ")),
    ?assertEqual([<<"application/json">>, <<"gzip">>, <<"Bearer a secret that only the backend knows">>],
                 [proplists:get_value(Name, Headers) || Name <- [<<"content-type">>, <<"content-encoding">>,
                                                                 <<"authorization">>]]),
    ?assertMatch({match, _},
                 re:run(zlib:gunzip(Body), "^\\[\\{\"type\":\"message.offline\",.*Good night! \".*\\}\\]$")).

prowl(Config) ->
    N = say(Config, "To Prowl", "Good night!"),
    ?assertEqual("pushed [\"/publicapi/add\", [[\"apikey\", \"" ?KEY "\"], [\"application\", \"" ++
                 offline_post_recipes:host(N) ++
                     "\"], [\"event\", \"Message from romeo\"], [\"description\", \"Good night!\"], "
                     "[\"url\", \"xmpp:romeo@verona.example\"]]]", line(?config(prowl, Config))).

%%%

said(Config, Title, Text) ->
    say(Config, Title, Text),
    offline_post_backend:await(?config(backend, Config)).

say(Config, Title, Text) ->
    [{N, _, _}] = offline_post_recipes:vhosts(Config, Title),
    offline_post_node:route(?config(node, Config), "romeo@verona.example/balcony",
                            ["juliet@", offline_post_recipes:host(N)], Text),
    N.

line(Port) ->
    receive {Port, {data, {eol, Line}}} -> binary_to_list(Line)
    after ?TIMEOUT -> ct:fail(nothing_heard)
    end.
