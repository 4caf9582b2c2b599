%% What the operator's commands do, each for one endpoint or for the node; mod_offline_post_command_specs tells ejabberd
%% of them.
-module(mod_offline_post_commands).

-export([status/0, test/2, flush/1, stats/1, pause/1, resume/1, dead_list/3, dead_show/2, dead_replay/2, dead_drop/2, import/1,
         check_config/0]).
%% For the web admin's pages, which show and take the same.
-export([fields/1, address/1]).

-import(mod_offline_post_text, [shown/1, in_line/1]).

%% How many dead letters a list shows at once.
-define(PAGE, 100).

%% How long a check may take (ms); ejabberdctl gives up after 60 s.
-define(CHECK_MS, 30000).

%% What ejabberd makes of it: on the shell the text and exit status 1; over HTTP the text with status 404
%% (not_exists), 409 (conflict) or 500.
-type failure() :: {error, not_exists | conflict | timeout, 1, Text :: binary()}.
-type field() :: {Key :: string(), Value :: binary()}.

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
    [{Host, atom_to_binary(Module, utf8), atom_to_binary(State, utf8), in_line(mod_offline_post_operator:why(Stats, Observed)),
      age(Since, Now), Pending, InFlight, age(Oldest, Now), Dead, atom_to_binary(Spool, utf8)} ||
        #{host := Host, module := Module, stats := #{pending := Pending, in_flight := InFlight, dead := Dead, spool := Spool} = Stats,
          observed := #{state := State, since := Since, oldest_pending := Oldest} = Observed} <-
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
    Name = mod_offline_post_endpoint:name({prepared(Given), Module}),
    case Do(Name) of
        {error, unknown} ->
            unknown(Given, Module, mod_offline_post_endpoint:module(Name), mod_offline_post_endpoint:is_loaded(Name));
        {error, not_found} ->
            failure(not_exists, "~ts has no dead letter ~ts", [Name, Which]);
        {error, timeout} ->
            failure(timeout, "no answer in time~ts: what was begun goes on, offline_post_stats shows how far", [reason(Name)]);
        {error, user} ->
            failure(not_exists, "nothing was sent: say for which user of ~ts, with the part of the address before the @", [Given]);
        Result ->
            Result
    end.

-spec reason(binary()) -> iodata().
reason(Name) ->
    case mod_offline_post_operator:disk_silent(mod_offline_post_operator:stats(Name)) of
        <<>> -> "";
        Silent -> [" (", Silent, ")"]
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
