%% Log lines that many virtual hosts cause at once: one line for each cause, with the number of virtual hosts and the first
%% three names. mod_offline_post_owner collects the notices and writes the lines.
-module(mod_offline_post_notices).

-export([note/3, note/4, flush/0]).
-export([none/0, native/2, add/2, lines/1, write_all/1]).
-export_type([notice/0, notices/0]).

-include_lib("kernel/include/logger.hrl").

-type level() :: error | warning | info.
%% A line: `hosts` stands for the names, `count` for the sum of the virtual hosts' counts. Numbers and ids in `like` may
%% differ between virtual hosts: those of the first one are shown.
-type cause() :: [unicode:chardata() | hosts | count | {like, binary()}].
-type notice() :: {level(), cause(), Host :: binary(), Count :: non_neg_integer()}.
-type notices() :: #{{level(), cause()} => {Order :: non_neg_integer(), notice(), #{Host :: binary() => Count :: non_neg_integer()}}}.

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

%% What the native side says of an endpoint begins with its name, `MODULE for HOST: `.
-spec native(level(), binary()) -> notice().
native(Level, Line) ->
    case re:run(Line, "^(mod_[a-z]+_post) for ([^ ]+): (.*)$", [{capture, all_but_first, binary}, dotall]) of
        {match, [Module, Host, Text]} -> {Level, ["mod_offline_post: ", Module, " for ", hosts, ": ", {like, Text}], Host, 0};
        nomatch -> {Level, ["mod_offline_post: ", Line], <<>>, 0}
    end.

-spec add(notice(), notices()) -> notices().
add({Level, Cause, Host, Count} = Notice, Notices) ->
    Key = {Level, [alike(Part) || Part <- Cause]},
    {Order, First, Hosts} = maps:get(Key, Notices, {map_size(Notices), Notice, #{}}),
    Notices#{Key => {Order, First, Hosts#{Host => Count}}}.

-spec alike(Part) -> Part | binary().
alike({like, Text}) -> iolist_to_binary(re:replace(Text, "msg_\\w+|\\d+", "#", [global]));
alike(Part) -> Part.

%% In the order in which the causes came.
-spec lines(notices()) -> [{level(), unicode:chardata()}].
lines(Notices) ->
    [{Level, [part(Part, Host, Hosts) || Part <- Cause]} ||
        {_Order, {Level, Cause, Host, _}, Hosts} <- lists:sort(maps:values(Notices))].

-spec part(unicode:chardata() | hosts | count | {like, binary()}, First :: binary(), #{binary() => non_neg_integer()}) ->
          unicode:chardata().
part({like, Text}, _First, Hosts) when map_size(Hosts) =:= 1 -> Text;
part({like, Text}, First, _Hosts) -> [Text, " (numbers and ids are those of ", First, ")"];
part(hosts, _First, Hosts) -> names(lists:sort(maps:keys(Hosts)));
part(count, _First, Hosts) -> integer_to_list(lists:sum(maps:values(Hosts)));
part(Text, _First, _Hosts) -> Text.

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
