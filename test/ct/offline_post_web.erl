%% The web admin of a node, as docs/webadmin.md says that it is switched on.
-module(offline_post_web).

-export([config/2, url/2]).

%% YAML at the top level, for offline_post_node. Words: what else to write in place of the document's.
config(Port, Words) ->
    [{_, "listen:\n" ++ Yaml, _}] = offline_post_document:examples("docs/webadmin.md"),
    offline_post_document:replace(Yaml, [{"5280", integer_to_list(Port)} | Words]).

url(Port, Path) ->
    lists:flatten(["http://127.0.0.1:", integer_to_list(Port), "/admin/", Path]).
