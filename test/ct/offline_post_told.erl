%% The whole of each event, as it was decided on, and not only what its form of a POST has room for: a handler of
%% offline_post_event puts the event into its own body.
-module(offline_post_told).

-export([install/2, event/1, settled/2]).
-export([tell/2]).

%% On these virtual hosts of the node.
install(Node, Hosts) ->
    {?MODULE, Beam, File} = code:get_object_code(?MODULE),
    {module, ?MODULE} = offline_post_node:call(Node, code, load_binary, [?MODULE, File, Beam]),
    [ok = offline_post_node:call(Node, ejabberd_hooks, add, [offline_post_event, list_to_binary(Host), ?MODULE, tell,
                                                             50]) ||
        Host <- Hosts],
    ok.

%% On the node.
tell(Event, _Packet) ->
    Event#{body := base64:encode(term_to_binary(Event))}.

event(#{body := Body}) ->
    binary_to_term(base64:decode(proplists:get_value(<<"body">>, uri_string:dissect_query(Body)))).

%% Waits until nothing is pending: then whatever was accepted has arrived.
settled(Node, Hosts) ->
    [offline_post_wait:until(fun() -> maps:get(pending, offline_post_node:stats(Node, Host)) =:= 0 end) ||
     Host <- Hosts],
    ok.
