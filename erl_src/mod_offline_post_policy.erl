%% What a virtual host's options say about events, compiled for the hooks: one term, read without copying.
-module(mod_offline_post_policy).

-export([set/3, erase/1, get/1]).
-export_type([policy/0, content/0]).

-type policy() :: #{triggers := [offline | pending],
                    notify := [mod_offline_post_event:kind()],
                    hanging := boolean(),                   % also when another device of the user takes the message
                    groupchat := none | mucsub | members,
                    members_notify := all | mentions,
                    include_body := #{default := content(), mod_offline_post_event:kind() => content()},
                    include_sender := boolean(),
                    cancel_when_online := boolean(),
                    collapse := none | recipient | conversation,
                    badge := none | events | stored,
                    sync_commit := boolean(),               % false also where there is no disk to wait for
                    uses := mod_offline_post_event:uses()}. % what the requests use of an event
%% true: the message's own text.
-type content() :: boolean() | binary().

%% Source: the options, or the host whose options they are. Uses: as mod_offline_post_nif:configure/2 says.
-spec set(binary(), gen_mod:opts() | binary(), Uses :: [binary()]) -> ok.
set(Host, Source, Uses) ->
    mod_offline_post_terms:put(?MODULE, Host, compile(Source, Uses)).

-spec erase(binary()) -> ok.
erase(Host) ->
    mod_offline_post_terms:erase(?MODULE, Host).

%% undefined: the module does not run for this host.
-spec get(binary()) -> policy() | undefined.
get(Host) ->
    mod_offline_post_terms:get(?MODULE, Host, undefined).

-spec compile(gen_mod:opts() | binary(), [binary()]) -> policy().
compile(Source, Uses) ->
    #{triggers => mod_offline_post_opt:triggers(Source),
      notify => mod_offline_post_opt:notify(Source),
      hanging => mod_offline_post_opt:notify_hanging_device(Source),
      groupchat => mod_offline_post_opt:groupchat(Source),
      members_notify => mod_offline_post_opt:members_notify(Source),
      include_body => contents(mod_offline_post_opt:include_body(Source)),
      include_sender => mod_offline_post_opt:include_sender(Source),
      cancel_when_online => mod_offline_post_opt:cancel_when_online(Source),
      collapse => mod_offline_post_opt:collapse(Source),
      badge => mod_offline_post_opt:badge(Source),
      sync_commit => mod_offline_post_opt:sync_commit(Source) andalso mod_offline_post_opt:spool(Source),
      uses => mod_offline_post_event:uses(Uses)}.

-spec contents(content() | #{atom() => content()}) -> #{default := content(), atom() => content()}.
contents(PerKind) when is_map(PerKind) -> maps:merge(#{default => true}, PerKind);
contents(All) -> #{default => All}.
