%% Log lines that many virtual hosts cause at once: one line for each cause, with the number of virtual hosts and the first
%% three names. mod_offline_post_owner collects the notices and writes the lines.
-module(mod_offline_post_notices).

-export([note/3, note/4, flush/0]).
-export([none/0, add/2, lines/1, write_all/1, write/2]).
-export_type([notice/0, notices/0]).

-include_lib("kernel/include/logger.hrl").

-type level() :: error | warning | info.
%% A line: `hosts` stands for the names, `count` for the sum of the virtual hosts' counts.
-type cause() :: [unicode:chardata() | hosts | count].
-type notice() :: {level(), cause(), Host :: binary(), Count :: non_neg_integer()}.
-type notices() :: #{{level(), cause()} => {Order :: non_neg_integer(), #{Host :: binary() => Count :: non_neg_integer()}}}.

-define(NAMED, 3).

-spec note(level(), binary(), cause()) -> ok.
note(Level, Host, Cause) -> note(Level, Host, Cause, 0).

%% Any process. Without the process that collects, the line is written at once.
-spec note(level(), binary(), cause(), Count :: non_neg_integer()) -> ok.
note(Level, Host, Cause, Count) ->
    Notice = {Level, Cause, Host, Count},
    case whereis(mod_offline_post_owner) of
        undefined -> write_all(add(Notice, none()));
        Owner -> gen_server:cast(Owner, {note, Notice})
    end.

%% At the end of a start or a reload: what this process has noted is written.
-spec flush() -> ok.
flush() ->
    try gen_server:call(mod_offline_post_owner, write_notices)
    catch exit:_ -> ok % the notices are written after a while
    end.

-spec none() -> notices().
none() -> #{}.

-spec add(notice(), notices()) -> notices().
add({Level, Cause, Host, Count}, Notices) ->
    {Order, Hosts} = maps:get({Level, Cause}, Notices, {map_size(Notices), #{}}),
    Notices#{{Level, Cause} => {Order, Hosts#{Host => Count}}}.

%% In the order in which the causes came.
-spec lines(notices()) -> [{level(), unicode:chardata()}].
lines(Notices) ->
    [{Level, [part(Part, Hosts) || Part <- Cause]} ||
        {_Order, Level, Cause, Hosts} <- lists:sort([{Order, Level, Cause, Hosts} ||
                                                        {{Level, Cause}, {Order, Hosts}} <- maps:to_list(Notices)])].

-spec part(unicode:chardata() | hosts | count, #{binary() => non_neg_integer()}) -> unicode:chardata().
part(hosts, Hosts) -> names(lists:sort(maps:keys(Hosts)));
part(count, Hosts) -> integer_to_list(lists:sum(maps:values(Hosts)));
part(Text, _Hosts) -> Text.

-spec names([binary()]) -> unicode:chardata().
names(Hosts) when length(Hosts) =< ?NAMED ->
    lists:join(", ", Hosts);
names(Hosts) ->
    [integer_to_list(length(Hosts)), " virtual hosts (", lists:join(", ", lists:sublist(Hosts, ?NAMED)), ", ...)"].

-spec write_all(notices()) -> ok.
write_all(Notices) ->
    lists:foreach(fun({Level, Line}) -> write(Level, Line) end, lines(Notices)).

-spec write(level(), unicode:chardata()) -> ok.
write(error, Line) -> ?LOG_ERROR("~ts", [Line]);
write(warning, Line) -> ?LOG_WARNING("~ts", [Line]);
write(info, Line) -> ?LOG_INFO("~ts", [Line]).
