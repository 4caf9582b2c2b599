%% What is sent, and the two ways to send it: our hook, and the hook of the original's design.
-module(offline_post_bench_load).

-export([prepare/1, message/2, event/2, ready_event/2, body/3, hook/2, be_session/1, original/4, execute/2, execute/3]).

-include("xmpp.hrl").

%% Recipients per vhost. Enough that order within a recipient holds up nothing.
-define(USERS, 1000).
-define(TEXT, <<"Wherefore art thou Romeo? Deny thy father & refuse thy name, or, if thou wilt not, be but sworn my love.">>).
-define(EXECUTE_MS, 60000).

%% Accounts, and the messages as literals, so that they are no part of the measured process's heap.
-spec prepare([binary()]) -> ok.
prepare(Hosts) ->
    lists:foreach(fun(Host) ->
                      [ok = ejabberd_auth:try_register(user(I), Host, <<"secret">>) || I <- lists:seq(1, ?USERS)],
                      Messages = [new_message(Host, I) || I <- lists:seq(1, ?USERS)],
                      Events = [event(Host, I) || I <- lists:seq(1, ?USERS)],
                      persistent_term:put({?MODULE, Host}, {list_to_tuple(Messages), list_to_tuple(Events)})
                  end, Hosts).

%% The Ith message, counted around.
-spec message(binary(), non_neg_integer()) -> message().
message(Host, I) ->
    {Messages, _} = persistent_term:get({?MODULE, Host}),
    element(I rem ?USERS + 1, Messages).

-spec ready_event(binary(), non_neg_integer()) -> mod_offline_post_nif:event().
ready_event(Host, I) ->
    {_, Events} = persistent_term:get({?MODULE, Host}),
    element(I rem ?USERS + 1, Events).

new_message(Host, I) ->
    #message{type = chat, id = <<"message-", (user(I))/binary>>, lang = <<"en">>,
             from = jid:make(<<"juliet">>, Host, <<"balcony">>), to = jid:make(user(I), Host),
             body = [#text{lang = <<"en">>, data = ?TEXT}]}.

%% The same as the native side takes it, made anew; each I another recipient.
-spec event(binary(), non_neg_integer()) -> mod_offline_post_nif:event().
event(Host, I) ->
    {<<"text">>, {user(I), Host, <<>>}, {<<"juliet">>, Host, <<"balcony">>}, <<"message-", (user(I))/binary>>, ?TEXT,
     <<>>, []}.

%% The form that arrives for it.
-spec body(binary(), binary(), non_neg_integer()) -> string().
body(Token, Host, I) ->
    #message{to = To, from = From, body = [#text{data = Text}]} = message(Host, I),
    lists:flatten(lists:join("&", [[Name, "=", uri_string:quote(binary_to_list(Value))]
                                   || {Name, Value} <- [{"to", To#jid.luser}, {"from", From#jid.luser}, {"body", Text},
                                                        {"access_token", Token}]])).

%% All that we add to a message that mod_offline stores: the stamp, and our part of the fold.
-spec hook(binary(), non_neg_integer()) -> term().
hook(Host, I) ->
    Verdict = {bounce, mod_offline_post_once:stamp(message(Host, I))},
    {bounce, Message} = mod_offline_post_offline:archived_message(mod_offline_post_offline:new_message(Verdict)),
    mod_offline_post_offline:offline_message({offlined, Message}).

%% This process becomes the sender's session.
-spec be_session(binary()) -> ok.
be_session(Host) ->
    put('$initial_call', {xmpp_stream_in, init, 1}),
    #message{from = #jid{user = User, server = Server, resource = Resource}} = message(Host, 1),
    ejabberd_sm:open_session(ejabberd_sm:make_sid(), User, Server, Resource, []).

%% The original's: the session sends the request itself and waits for the answer.
-spec original(string(), binary(), binary(), non_neg_integer()) -> ok.
original(Url, Token, Host, I) ->
    Request = {Url, [], "application/x-www-form-urlencoded", list_to_binary(body(Token, Host, I))},
    {ok, {{_, 200, _}, _, _}} = httpc:request(post, Request, [], []),
    ok.

%% A program's output; it must succeed.
-spec execute(string(), [string()]) -> string().
execute(Program, Args) ->
    execute(Program, Args, []).

-spec execute(string(), [string()], [{string(), string()}]) -> string().
execute(Program, Args, Env) ->
    Path = case os:find_executable(Program) of
               false -> error({not_found, Program});
               Found -> Found
           end,
    Port = open_port({spawn_executable, Path}, [{args, Args}, {env, Env}, exit_status, stderr_to_stdout, hide]),
    collect(Program, Port, []).

collect(Program, Port, Output) ->
    receive
        {Port, {data, Data}} -> collect(Program, Port, [Output | Data]);
        {Port, {exit_status, 0}} -> lists:flatten(Output);
        {Port, {exit_status, Status}} -> error({failed, Program, Status, lists:flatten(Output)})
    after ?EXECUTE_MS ->
        error({silent, Program})
    end.

user(I) ->
    list_to_binary(io_lib:format("user~6..0B", [I])).
