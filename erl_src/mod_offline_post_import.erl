%% Takes over what the file of another node's spool has left: in a process of its own, one at a time on a node, which goes
%% on when whoever asked for it waits no more.
-module(mod_offline_post_import).

-export([import/2]).
%% For spawn_monitor alone.
-export([run/1]).

-include_lib("kernel/include/logger.hrl").

%% How long a slice may take that waits for this node's disk (ms).
-define(SLICE_MS, 60000).

-type result() :: {ok, mod_offline_post_nif:imported()} | {error, unknown | busy | timeout | {refused, binary()}}.

-spec import(File :: binary(), TimeoutMs :: pos_integer()) -> result().
import(File, Timeout) ->
    {Pid, Monitor} = spawn_monitor(?MODULE, run, [File]),
    receive
        {'DOWN', Monitor, process, Pid, {?MODULE, Result}} -> Result;
        {'DOWN', Monitor, process, Pid, _Crashed} -> {error, timeout}
    after Timeout ->
        _ = erlang:demonitor(Monitor, [flush]),
        {error, timeout}
    end.

-spec run(binary()) -> no_return().
run(File) ->
    exit({?MODULE, try register(?MODULE, self()) of
                       true -> begin_with(File)
                   catch
                       error:badarg -> {error, busy}
                   end}).

-spec begin_with(binary()) -> result().
begin_with(File) ->
    case mod_offline_post_native:ask(fun() -> mod_offline_post_nif:import_open(File) end, unknown) of
        ok -> tell(File, go_on());
        {error, Why} -> tell(File, {error, {refused, Why}});
        unknown -> {error, unknown}
    end.

-spec go_on() -> result().
go_on() ->
    case mod_offline_post_nif:import_next() of
        {ok, Ref} ->
            receive
                {offline_post_imported, Ref, ok} -> go_on()
            after ?SLICE_MS ->
                ok = mod_offline_post_nif:import_close(),
                {error, timeout}
            end;
        {done, Imported} ->
            {ok, Imported}
    end.

%% In the log too: whoever asked may have gone.
-spec tell(binary(), result()) -> result().
tell(File, {ok, #{trouble := <<>>, pending := Pending, dead := Dead, file := Now}} = Result) ->
    ?LOG_INFO("mod_offline_post: took over ~B messages and ~B dead letters of ~ts, which is ~ts now",
              [Pending, Dead, File, Now]),
    Result;
tell(File, {ok, #{trouble := Trouble, pending := Pending, dead := Dead, left := Left}} = Result) ->
    ?LOG_ERROR("mod_offline_post: took over ~B messages and ~B dead letters of ~ts; ~B are left: ~ts",
               [Pending, Dead, File, Left, Trouble]),
    Result;
tell(_File, {error, {refused, Why}} = Result) ->
    ?LOG_ERROR("mod_offline_post: nothing was imported: ~ts", [Why]),
    Result;
tell(File, {error, timeout} = Result) ->
    ?LOG_ERROR("mod_offline_post: gave up importing ~ts: this node's own spool does not answer. Import it again", [File]),
    Result.
