%% The operator's commands for ejabberdctl and mod_http_api, each for one endpoint. They are the node's: registered with
%% the first virtual host of any of our modules, unregistered with the last.
-module(mod_offline_post_commands).

-export([register/0, unregister/0]).
-export([status/0, test/2, flush/1, stats/1, pause/1, resume/1, dead_list/3, dead_show/2, dead_replay/2, dead_drop/2, import/1,
         check_config/0]).
%% For the web admin's pages, which show and take the same.
-export([fields/1, address/1]).

-import(mod_offline_post_text, [shown/1, in_line/1]).

-include("ejabberd_commands.hrl").

%% Whose they are: `ejabberdctl help` wants it to be a gen_mod.
-define(DEFINER, mod_offline_post).

%% How many dead letters a list shows at once.
-define(PAGE, 100).

%% How long a check may take (ms); ejabberdctl gives up after 60 s.
-define(CHECK_MS, 30000).

%% Over HTTP a list of objects. Named otherwise, ejabberd would make one object of them all, which 24.12 fails to encode.
-define(KEY_AND_VALUE, {tuple, [{key, string}, {value, string}]}).

%% What ejabberd makes of it: on the shell the text and exit status 1; over HTTP the text with status 404
%% (not_exists), 409 (conflict) or 500.
-type failure() :: {error, not_exists | conflict | timeout, 1, Text :: binary()}.
-type field() :: {Key :: string(), Value :: binary()}.

%% Those that are registered as they are here stay so: ejabberd 26.07 takes a second time for a grave mistake. What an
%% older version of this module has registered is replaced.
-spec register() -> ok.
register() ->
    case [Command || Command <- commands(), not lists:any(fun(Known) -> is_same(Command, Known) end, registered(Command))] of
        [] ->
            ok;
        New ->
            ok = ejabberd_commands:unregister_commands(lists:flatmap(fun registered/1, New)),
            ejabberd_commands:register_commands(?DEFINER, New)
    end.

-spec unregister() -> ok.
unregister() ->
    ejabberd_commands:unregister_commands(lists:flatmap(fun registered/1, commands())).

%% As ejabberd has it: until 24.12 it unregisters only what equals that.
-spec registered(#ejabberd_commands{}) -> [#ejabberd_commands{}].
registered(#ejabberd_commands{name = Name}) ->
    try [ejabberd_commands:get_command_definition(Name)]
    catch throw:_ -> []
    end.

-spec is_same(#ejabberd_commands{}, #ejabberd_commands{}) -> boolean().
is_same(#ejabberd_commands{desc = Desc, longdesc = Long, args = Args, args_desc = ArgsDesc, result = Result},
        #ejabberd_commands{desc = Desc, longdesc = Long, args = Args, args_desc = ArgsDesc, result = Result}) ->
    true;
is_same(_Command, _Known) ->
    false.

%%% The commands

-spec stats(binary()) -> [field()] | failure().
stats(Host) ->
    for(Host, fun(Name) ->
                      case mod_offline_post_operator:stats(Name) of
                          undefined -> {error, unknown};
                          Stats -> [{atom_to_list(Key), value(Value)} || {Key, Value} <- lists:sort(maps:to_list(Stats))]
                      end
              end).

%% One line for each endpoint of the node: what an operator looks at first.
-spec status() -> [tuple()].
status() ->
    Now = erlang:system_time(millisecond),
    [{Host, atom_to_binary(Module, utf8), atom_to_binary(State, utf8), in_line(Why), age(Since, Now), Pending, InFlight,
      age(Oldest, Now), Dead, atom_to_binary(Spool, utf8)} ||
        #{host := Host, module := Module, stats := #{pending := Pending, in_flight := InFlight, dead := Dead, spool := Spool},
          observed := #{state := State, why := Why, since := Since, oldest_pending := Oldest}} <-
            mod_offline_post_operator:status()].

%% In seconds; 0 where there is none.
-spec age(UnixMs :: integer(), Now :: integer()) -> non_neg_integer().
age(0, _Now) -> 0;
age(Since, Now) -> max(0, Now - Since) div 1000.

-spec test(binary(), binary()) -> [field()] | failure().
test(Host, User) ->
    for(Host, fun(Name) ->
                      case mod_offline_post_operator:test(Name, User) of
                          {ok, Tested} -> tested(Tested);
                          Error -> Error
                      end
              end).

-spec tested(mod_offline_post_nif:tested()) -> [field()].
tested(#{request := #{url := Url, headers := Headers, body := Body}, status := Status, reason := Reason, answer := Answer,
         us := Us}) ->
    [{"result", in_line(Reason)}, {"status", value(Status)}, {"milliseconds", value(Us div 1000)}, {"answer", in_line(Answer)},
     {"request", in_line(<<"POST ", Url/binary>>)}]
        ++ [{"header", in_line(<<Name/binary, ": ", Value/binary>>)} || {Name, Value} <- Headers]
        ++ [{"body", in_line(Body)}].

-spec flush(binary()) -> {ok, binary()} | failure().
flush(Host) ->
    for(Host, fun(Name) -> done(mod_offline_post_operator:flush(Name), "what waits for ~ts is tried now", [Name]) end).

-spec pause(binary()) -> {ok, binary()} | failure().
pause(Host) ->
    for(Host, fun(Name) -> done(mod_offline_post_operator:pause(Name), "paused ~ts until offline_post_resume", [Name]) end).

-spec resume(binary()) -> {ok, binary()} | failure().
resume(Host) ->
    for(Host, fun(Name) -> done(mod_offline_post_operator:resume(Name), "resumed ~ts", [Name]) end).

-spec dead_list(binary(), binary(), integer()) -> [tuple()] | failure().
dead_list(Host, Which, After) ->
    selected(Host, Which, fun(Name, Selection) ->
                                  case mod_offline_post_operator:dead_letters(Name, Selection, bounded(After), ?PAGE) of
                                      {ok, Letters, _Next} -> [line(Letter) || Letter <- Letters];
                                      Error -> Error
                                  end
                          end).

%% Sequences are smaller.
-spec bounded(integer()) -> non_neg_integer().
bounded(After) ->
    min(max(After, 0), 1 bsl 63).

-spec dead_show(binary(), binary()) -> [field()] | failure().
dead_show(Host, Id) ->
    for(Host, fun(Name) ->
                      case mod_offline_post_operator:dead_letter(Name, Id) of
                          {ok, Letter} -> fields(Letter);
                          Error -> Error
                      end
              end, Id).

-spec dead_replay(binary(), binary()) -> non_neg_integer() | failure().
dead_replay(Host, Which) ->
    selected(Host, Which, fun(Name, Selection) -> counted(Selection, mod_offline_post_operator:replay(Name, Selection)) end).

-spec dead_drop(binary(), binary()) -> non_neg_integer() | failure().
dead_drop(Host, Which) ->
    selected(Host, Which, fun(Name, Selection) -> counted(Selection, mod_offline_post_operator:drop(Name, Selection)) end).

%% Of all virtual hosts.
-spec import(binary()) -> [field()] | failure().
import(File) ->
    case mod_offline_post_operator:import(File) of
        {ok, #{trouble := <<>>} = Imported} ->
            [{"pending", value(maps:get(pending, Imported))}, {"dead", value(maps:get(dead, Imported))},
             {"withdrawn", value(maps:get(withdrawn, Imported))}, {"before", value(maps:get(before, Imported))},
             {"file", in_line(maps:get(file, Imported))}];
        {ok, #{trouble := Trouble, pending := Pending, dead := Dead, left := Left}} ->
            failure(timeout, "imported ~B messages and ~B dead letters, ~B are left: ~ts. Mend this and import it again",
                    [Pending, Dead, Left, Trouble]);
        {error, {refused, Why}} ->
            failure(not_exists, "nothing was imported: ~ts", [Why]);
        {error, busy} ->
            failure(timeout, "another import is under way: its end is told in ejabberd's log", []);
        {error, timeout} ->
            failure(timeout, "it is not over yet, and goes on: its end is told in ejabberd's log", []);
        {error, unknown} ->
            failure(not_exists, "mod_offline_post does not run on this node: the reason is in ejabberd's log", [])
    end.

%% Of the whole node, as the file would have it.
-spec check_config() -> [tuple()] | failure().
check_config() ->
    case mod_offline_post_check:run(?CHECK_MS) of
        {ok, Findings} ->
            case [finding(Error) || {_, _, error, _} = Error <- Findings] of
                [] -> [{Host, atom_to_binary(Module, utf8), atom_to_binary(Kind, utf8), in_line(Text)} ||
                          {Host, Module, Kind, Text} <- Findings];
                Errors -> failure(conflict, "~ts", [lists:join($\n, Errors)])
            end;
        {error, busy} ->
            failure(timeout, "another check is under way: ask again in a moment", []);
        {error, timeout} ->
            failure(timeout, "nothing is known: loading the file took longer than ~B s", [?CHECK_MS div 1000]);
        {error, {failed, Why}} ->
            failure(timeout, "nothing is known: the check failed (~ts)", [Why])
    end.

-spec finding(mod_offline_post_check:finding()) -> binary().
finding({Host, Module, error, Text}) ->
    text("~ts: ~ts: ~ts", [Host, Module, in_line(Text)]).

%%% What they have in common

-spec selected(binary(), binary(), fun((binary(), mod_offline_post_operator:selection()) -> Result | {error, atom()})) ->
          Result | failure().
selected(_Host, <<>>, _Do) ->
    failure(not_exists, "say which: 'all', a message's id, or how a reason begins, such as 'HTTP 404'", []);
selected(Host, Which, Do) ->
    for(Host, fun(Name) -> Do(Name, selection(Which)) end, Which).

-spec selection(binary()) -> mod_offline_post_operator:selection().
selection(<<"all">>) -> all;
selection(<<"msg_", _/binary>> = Id) -> {id, Id};
selection(Reason) -> {reason, Reason}.

%% Of one that was named, none is a mistake.
-spec counted(mod_offline_post_operator:selection(), {ok, non_neg_integer()} | {error, atom()}) ->
          non_neg_integer() | {error, atom()}.
counted({id, _}, {ok, 0}) -> {error, not_found};
counted(_Selection, {ok, Count}) -> Count;
counted(_Selection, Error) -> Error.

-spec done(ok | {error, atom()}, io:format(), [term()]) -> {ok, binary()} | {error, atom()}.
done(ok, Format, Args) -> {ok, text(Format, Args)};
done(Error, _Format, _Args) -> Error.

-spec for(binary(), fun((binary()) -> Result | {error, atom()})) -> Result | failure().
for(Host, Do) ->
    for(Host, Do, <<>>).

%% Also for a virtual host that is not configured any more, and has left something.
-spec for(binary(), fun((binary()) -> Result | {error, atom()}), Which :: binary()) -> Result | failure().
for(Host, Do, Which) ->
    {Given, Module} = mod_offline_post_endpoint:named(Host),
    Prepared = prepared(Given),
    Name = case Module of
               <<"mod_offline_post">> -> Prepared;
               _ -> <<Prepared/binary, "/", Module/binary>>
           end,
    case Do(Name) of
        {error, unknown} ->
            unknown(Given, Module, mod_offline_post_endpoint:module(Name), mod_offline_post_endpoint:is_loaded(Name));
        {error, not_found} ->
            failure(not_exists, "~ts has no dead letter ~ts", [Name, Which]);
        {error, timeout} ->
            failure(timeout, "no answer in time: what was begun goes on, offline_post_stats shows how far", []);
        Result ->
            Result
    end.

-spec unknown(Host :: binary(), Named :: binary(), module() | undefined, IsLoaded :: boolean()) -> failure().
unknown(_Host, _Named, undefined, _) ->
    failure(not_exists, "after a virtual host comes nothing, or /mod_available_post or /mod_unavailable_post", []);
unknown(Host, Named, _, true) ->
    failure(not_exists, "~ts does not run for ~ts: the reason is in ejabberd's log", [Named, Host]);
unknown(Host, Named, _, false) ->
    failure(not_exists, "~ts is not configured for a virtual host ~ts", [Named, Host]).

-spec prepared(binary()) -> binary().
prepared(Host) ->
    case jid:nameprep(Host) of
        error -> Host;
        Prepared -> Prepared
    end.

-spec failure(not_exists | conflict | timeout, io:format(), [term()]) -> failure().
failure(Kind, Format, Args) ->
    {error, Kind, 1, text(Format, Args)}.

%%% How things are shown

%% No text: it is between two people. dead_show is asked for one letter by somebody who wants to know.
-spec line(mod_offline_post_nif:letter()) -> tuple().
line(#{sequence := Sequence, id := Id, to := To, from := From, status := Status, attempts := Attempts,
       died := Died, reason := Reason}) ->
    {Sequence, Id, address(To), address(From), Attempts, Status, time(Died), in_line(Reason)}.

-spec fields(mod_offline_post_nif:letter()) -> [field()].
fields(#{sequence := Sequence, id := Id, to := To, from := From, message_id := MessageId, body := Body, kind := Kind,
         count := Count, attributes := Attributes, status := Status, attempts := Attempts, accepted := Accepted,
         died := Died, reason := Reason, answer := Answer}) ->
    [{"number", value(Sequence)}, {"id", Id}, {"kind", in_line(Kind)}, {"to", address(To)}, {"from", address(From)},
     {"message_id", in_line(MessageId)}, {"stands_for", value(Count)}]
        ++ [{binary_to_list(Name), in_line(Value)} || {Name, Value} <- Attributes]
        ++ [{"accepted", time(Accepted)}, {"died", time(Died)}, {"attempts", value(Attempts)}, {"status", value(Status)},
            {"reason", in_line(Reason)}, {"answer", in_line(Answer)}, {"body", shown(Body)}].

-spec value(integer() | atom()) -> binary().
value(Value) when is_integer(Value) -> integer_to_binary(Value);
value(Value) -> atom_to_binary(Value, utf8).

-spec address(mod_offline_post_nif:address()) -> binary().
address(Address) ->
    jid:encode(Address).

-spec time(UnixMs :: integer()) -> binary().
time(UnixMs) ->
    list_to_binary(calendar:system_time_to_rfc3339(UnixMs div 1000, [{offset, "Z"}])).

-spec text(io:format(), [term()]) -> binary().
text(Format, Args) ->
    unicode:characters_to_binary(io_lib:format(Format, Args)).

%%% What ejabberd is told of them

-spec commands() -> [#ejabberd_commands{}].
commands() ->
    [node_command(offline_post_status, status, [],
                  "Show for each virtual host of this node whether notifications flow, and why not",
                  "State: healthy, probing or broken (the backend has trouble, and for how long), paused. Ages are in seconds, "
                  "0 where there is none. 'spool': durable is well, degraded means that the disk refuses.",
                  {endpoints, {list, {endpoint, {tuple, [{host, string}, {module, string}, {state, string}, {why, string},
                                                         {since, integer}, {pending, integer}, {in_flight, integer},
                                                         {oldest, integer}, {dead, integer}, {spool, string}]}}}},
                  "Virtual host, module, state, why, for how long, pending, in flight, age of the oldest, dead letters, spool",
                  [{<<"example.org">>, <<"mod_offline_post">>, <<"broken">>, <<"HTTP 503">>, 75, 120, 0, 75, 0, <<"durable">>}]),
     command(offline_post_test, test, [{user, binary, "The recipient's name, as the backend is to see it", <<"juliet">>}],
             "Send one POST now, and show it with the answer",
             "It is sent whatever state the endpoint is in; it is neither queued nor counted. What may be a secret is shown as "
             "'(hidden)'. A message's text says that it is a test. The exit status is 0 whatever the backend answers: 'result' says it.",
             {test, {list, {part, ?KEY_AND_VALUE}}}, "Names and values",
             [{"result", <<"HTTP 200">>}, {"status", <<"200">>}]),
     command(offline_post_flush, flush, [],
             "Try now what waits for a retry",
             "A backend that has trouble is probed at once. It ends no pause: offline_post_resume does.",
             {res, restuple}, "Whether it is tried", {ok, <<"what waits for example.org is tried now">>}),
     command(offline_post_stats, stats, [],
             "Show the counters of an endpoint",
             "All are of one moment, in which accepted = delivered + pending + dead + cancelled + purged. Counted beside "
             "that since the node has started: 'given_up' (what became dead, whatever came of it since), 'limited' (by max_rate); "
             "of mod_offline_post 'duplicates' (messages that came on a second way) and 'vetoed' (by a "
             "handler of offline_post_event); and for the whole node 'hook_crashes', "
             "'commit_timeouts', 'uncommitted' and 'member_overflows'.",
             {stats, {list, {counter, ?KEY_AND_VALUE}}}, "Names and values",
             [{"accepted", <<"12">>}, {"pending", <<"2">>}, {"state", <<"healthy">>}]),
     command(offline_post_pause, pause, [],
             "Send nothing more for a virtual host until offline_post_resume",
             "Of one module: the others on that virtual host go on. What comes in is kept meanwhile. The pause outlives a restart.",
             {res, restuple}, "Whether it is paused", {ok, <<"paused example.org until offline_post_resume">>}),
     command(offline_post_resume, resume, [],
             "End any pause of a virtual host",
             "Also the one that begins when the backend answers 410.",
             {res, restuple}, "Whether it is resumed", {ok, <<"resumed example.org">>}),
     command(offline_post_dead_list, dead_list, [which(<<"all">>), after_number()],
             "List messages that failed for good, 100 at a time",
             "'which' is 'all', a message's id, or how the reason begins ('HTTP 4' means HTTP 404, HTTP 413 and so on). "
             "'after' is 0, and for the next page the number of the last line. "
             "A message's text is shown by offline_post_dead_show alone.",
             {letters, {list, {letter, {tuple, [{number, integer}, {id, string}, {to, string}, {from, string},
                                                {attempts, integer}, {status, integer}, {died, string},
                                                {reason, string}]}}}},
             "Number, id, recipient, sender, attempts, last HTTP status or 0, when and why it was given up",
             [{7, <<"msg_b9d1f3a07c5e2468_1f">>, <<"juliet@example.org">>, <<"romeo@example.net/orchard">>, 1, 413,
               <<"2026-01-31T12:00:00Z">>, <<"HTTP 413">>}]),
     command(offline_post_dead_show, dead_show, [id()],
             "Show everything about one message that failed for good, its text included",
             "'answer' is the beginning of what the backend answered last; 'stands_for' is how many messages it stands for.",
             {letter, {list, {field, ?KEY_AND_VALUE}}}, "Names and values",
             [{"id", <<"msg_b9d1f3a07c5e2468_1f">>}, {"reason", <<"HTTP 413">>}, {"body", <<"Good night!">>}]),
     command(offline_post_dead_replay, dead_replay, [which(<<"HTTP 404">>)],
             "Send messages that failed for good once more, under their old ids",
             "'which' is as in offline_post_dead_list. They are pending again, behind what waits already.",
             {replayed, integer}, "How many", 3),
     command(offline_post_dead_drop, dead_drop, [which(<<"msg_b9d1f3a07c5e2468_1f">>)],
             "Throw messages away that failed for good", "'which' is as in offline_post_dead_list. They are counted as cancelled.",
             {dropped, integer}, "How many", 1),
     node_command(offline_post_check_config, check_config, [],
                  "Check the configuration file before it is loaded, without changing or sending anything",
                  "Loads ejabberd.yml, and what it includes, in a VM of its own, as reload_config or a restart would: ejabberd's "
                  "options, and those of mod_offline_post, mod_available_post and mod_unavailable_post for each virtual host. "
                  "A mistake is an error that says what is wrong, and where. Of these modules no secret is shown; of others ejabberd "
                  "may repeat a wrong value. As a reload would, it creates directories that ejabberd's options name.",
                  {findings, {list, {finding, {tuple, [{host, string}, {module, string}, {result, string}, {text, string}]}}}},
                  "Virtual host or global, module, ok or warning, how or why",
                  [{<<"global">>, <<"ejabberd">>, <<"ok">>, <<"would load /etc/ejabberd/ejabberd.yml">>},
                   {<<"example.org">>, <<"mod_offline_post">>, <<"ok">>, <<"format json, to https://backend.example.org">>}]),
     node_command(offline_post_import, import,
                  [{file, binary, "The file's whole path, on this node", <<"/mnt/old-node/mod_offline_post.db">>}],
                  "Take over what waits in the spool of a node that is no more",
                  "The file mod_offline_post.db, with mod_offline_post.db-wal beside it, of a node that is stopped for good. Its "
                  "messages and dead letters become this node's, under their old ids, for the virtual hosts that run "
                  "mod_offline_post here; then the file is renamed to FILE.imported. It may be said again: what was taken "
                  "over is not taken twice. 'withdrawn' had been withdrawn and were left out, 'before' were taken over before.",
                  {imported, {list, {counter, ?KEY_AND_VALUE}}}, "Names and values",
                  [{"pending", <<"12">>}, {"dead", <<"1">>}, {"file", <<"/mnt/old-node/mod_offline_post.db.imported">>}])].

-type argument() :: {Name :: atom(), integer | binary, Desc :: string(), Example :: integer() | binary()}.

-spec which(binary()) -> argument().
which(Example) ->
    {which, binary, "'all', a message's id, or how the reason begins: 'HTTP 4' means HTTP 404, HTTP 413 and so on",
     Example}.

-spec after_number() -> argument().
after_number() ->
    {'after', integer, "List those with a larger number; 0: from the first one", 0}.

-spec id() -> argument().
id() ->
    {id, binary, "The message's id, as listed", <<"msg_b9d1f3a07c5e2468_1f">>}.

-spec command(atom(), atom(), [argument()], string(), string(), rterm(), string(), term()) -> #ejabberd_commands{}.
command(Name, Function, More, Desc, Long, Result, ResultDesc, ResultExample) ->
    node_command(Name, Function, [{host, binary, "The virtual host, or HOST/mod_available_post, HOST/mod_unavailable_post",
                                   <<"example.org">>} | More], Desc, Long, Result,
                 ResultDesc, ResultExample).

-spec node_command(atom(), atom(), [argument()], string(), string(), rterm(), string(), term()) -> #ejabberd_commands{}.
node_command(Name, Function, Args, Desc, Long, Result, ResultDesc, ResultExample) ->
    Example = lists:join(" ", [atom_to_list(Name) | [in_a_shell(Value) || {_, _, _, Value} <- Args]]),
    #ejabberd_commands{name = Name, tags = [offline_post], desc = Desc,
                       longdesc = lists:append([Long, "\nExample: ejabberdctl " | Example]),
                       module = ?MODULE, function = Function,
                       args = [{Arg, Type} || {Arg, Type, _, _} <- Args],
                       args_desc = [Text || {_, _, Text, _} <- Args],
                       args_example = [Value || {_, _, _, Value} <- Args],
                       result = Result, result_desc = ResultDesc, result_example = ResultExample}.

-spec in_a_shell(integer() | binary()) -> string().
in_a_shell(Number) when is_integer(Number) -> integer_to_list(Number);
in_a_shell(Text) ->
    case binary:match(Text, <<" ">>) of
        nomatch -> binary_to_list(Text);
        _ -> [$" | binary_to_list(Text)] ++ [$"]
    end.
