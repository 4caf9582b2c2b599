%% One process per node: it receives the native side's log lines and writes them to ejabberd's log, and runs what other
%% nodes ask for (mod_offline_post_nodes). Delivery does not depend on it; its supervisor starts it anew after a crash
%% and it attaches again.
-module(mod_offline_post_owner).

-behaviour(gen_server).

-export([start/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-include_lib("kernel/include/logger.hrl").

%% How long until it tries to attach again (ms).
-define(RETRY, 1000).

-type state() :: Retry :: reference() | undefined.

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
    {ok, attach(undefined)}.

-spec handle_call(term(), gen_server:from(), state()) -> {reply, {error, unknown}, state()}.
handle_call(_Request, _From, State) ->
    {reply, {error, unknown}, State}.

-spec handle_cast(term(), state()) -> {noreply, state()}.
handle_cast({run, Node, Call}, State) ->
    mod_offline_post_nodes:run(Node, Call),
    {noreply, State};
handle_cast(_Request, State) ->
    {noreply, State}.

-spec handle_info(term(), state()) -> {noreply, state()}.
handle_info({offline_post, Lines}, State) ->
    lists:foreach(fun log/1, Lines),
    {noreply, State};
handle_info(attach, Retry) ->
    {noreply, attach(Retry)};
handle_info(_, State) ->
    {noreply, State}.

%% Writes what has arrived before the supervisor's order to stop.
-spec terminate(term(), state()) -> ok.
terminate(_Reason, State) ->
    receive
        {offline_post, Lines} ->
            lists:foreach(fun log/1, Lines),
            terminate(stopped, State)
    after 0 ->
        ok
    end.

%% Never fails: this process would be started again and again, until its supervisor gives up, and with it every
%% module of the server.
-spec attach(state()) -> state().
attach(Retry) ->
    _ = is_reference(Retry) andalso erlang:cancel_timer(Retry),
    try
        ok = mod_offline_post_nif:attach(self()),
        undefined
    catch
        error:_ -> erlang:send_after(?RETRY, self(), attach)
    end.

-spec log({error | warning | info, binary()}) -> ok.
log({error, Line}) -> ?LOG_ERROR("mod_offline_post: ~ts", [Line]);
log({warning, Line}) -> ?LOG_WARNING("mod_offline_post: ~ts", [Line]);
log({info, Line}) -> ?LOG_INFO("mod_offline_post: ~ts", [Line]).
