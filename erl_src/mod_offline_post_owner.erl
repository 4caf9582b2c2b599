%% One process per node: it receives the native side's log lines and writes them to ejabberd's log, collects what is to be
%% logged of many virtual hosts (mod_offline_post_notices), and runs what other nodes ask for (mod_offline_post_nodes). Delivery does not depend on it; its supervisor starts it anew after a crash
%% and it attaches again.
-module(mod_offline_post_owner).

-behaviour(gen_server).

-export([start/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

%% How long until it tries to attach again (ms).
-define(RETRY, 1000).

%% Without a new notice for so long, those that were collected are written (ms); and not much later than this after the
%% first. A reload asks for it at its end.
-define(COLLECT, 1000).
-define(LONGEST, 10000).

-type timer() :: reference() | undefined.
%% Write: when, and until when it can be put off (monotonic ms).
-type state() :: {Retry :: timer(), mod_offline_post_notices:notices(), Write :: {timer(), integer()} | undefined}.

%% Any process. One that runs already attaches again: the native side may be another.
-spec start() -> ok | {error, term()}.
start() ->
    case gen_mod:start_child(?MODULE, <<>>, #{}, ?MODULE) of
        {ok, _} -> ok;
        {error, {already_started, Owner}} -> Owner ! attach, ok;
        {error, Reason} -> {error, Reason}
    end.

-spec init([term()]) -> {ok, state()}.
init(_) ->
    process_flag(trap_exit, true),
    {ok, {attach(undefined), mod_offline_post_notices:none(), undefined}}.

-spec handle_call(term(), gen_server:from(), state()) -> {reply, ok | {error, unknown}, state()}.
handle_call(write_notices, _From, State) ->
    {reply, ok, written(State)};
handle_call(_Request, _From, State) ->
    {reply, {error, unknown}, State}.

-spec handle_cast(term(), state()) -> {noreply, state()}.
handle_cast({run, Node, Call}, State) ->
    mod_offline_post_nodes:run(Node, Call),
    {noreply, State};
handle_cast({note, Notice}, State) ->
    {noreply, noted(Notice, State)};
handle_cast(_Request, State) ->
    {noreply, State}.

-spec handle_info(term(), state()) -> {noreply, state()}.
handle_info({offline_post, Lines}, State) ->
    {noreply, said(Lines, State)};
handle_info(attach, {Retry, Notices, Write}) ->
    {noreply, {attach(Retry), Notices, Write}};
handle_info(write_notices, State) ->
    {noreply, written(State)};
handle_info(_, State) ->
    {noreply, State}.

%% Writes what has arrived before the supervisor's order to stop.
-spec terminate(term(), state()) -> ok.
terminate(_Reason, State) ->
    receive
        {offline_post, Lines} ->
            terminate(stopped, said(Lines, State));
        {'$gen_cast', {note, Notice}} ->
            terminate(stopped, noted(Notice, State))
    after 0 ->
        _ = written(State),
        ok
    end.

%% Never fails: this process would be started again and again, until its supervisor gives up, and with it every
%% module of the server.
-spec attach(timer()) -> timer().
attach(Retry) ->
    cancel(Retry),
    try
        ok = mod_offline_post_nif:attach(self()),
        undefined
    catch
        error:_ -> erlang:send_after(?RETRY, self(), attach)
    end.

-spec cancel(timer()) -> ok.
cancel(undefined) -> ok;
cancel(Timer) -> _ = erlang:cancel_timer(Timer), ok.

%% The native side's lines.
-spec said([{error | warning | info, binary()}], state()) -> state().
said(Lines, State) ->
    lists:foldl(fun({Level, Line}, Said) -> noted(mod_offline_post_notices:native(Level, Line), Said) end, State, Lines).

-spec noted(mod_offline_post_notices:notice(), state()) -> state().
noted(Notice, {Retry, Notices, Write}) ->
    Now = erlang:monotonic_time(millisecond),
    Latest = case Write of
                 {Timer, Until} -> cancel(Timer), Until;
                 undefined -> Now + ?LONGEST
             end,
    Again = erlang:send_after(max(0, min(?COLLECT, Latest - Now)), self(), write_notices),
    {Retry, mod_offline_post_notices:add(Notice, Notices), {Again, Latest}}.

-spec written(state()) -> state().
written({Retry, Notices, Write}) ->
    _ = is_tuple(Write) andalso cancel(element(1, Write)),
    mod_offline_post_notices:write_all(Notices),
    {Retry, mod_offline_post_notices:none(), undefined}.
