%% How a suite with one node and one backend ends, and with clients if it has some. The node stops in order.
-module(offline_post_suite).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([finish/1]).

finish(Config) ->
    _ = [offline_post_client:stop(Clients) || {clients, Clients} <- Config],
    {_, Node} = offline_post_node:current(?config(node, Config)),
    ?assertEqual(0, offline_post_node:stop(Node)),
    offline_post_backend:stop(?config(backend, Config)).
