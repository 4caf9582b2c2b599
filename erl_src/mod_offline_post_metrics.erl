%% The page that Prometheus reads: a request handler for ejabberd's HTTP server. It shows the endpoints whose own
%% options, metrics_token and metrics_access, let the client see them; without these options there is no such page.
-module(mod_offline_post_metrics).

-export([process/2]).

-include_lib("kernel/include/logger.hrl").
-include("ejabberd_http.hrl").

-type response() :: {Status :: 200..599, [{binary(), binary()}], iodata()}.

%% Those that have endpoints.
-define(MODULES, [mod_offline_post, mod_available_post, mod_unavailable_post]).

%% No crash report: it would hold the request, and the token with it.
-spec process([binary()], http_request()) -> response().
process(Path, Request) ->
    try respond(Path, Request)
    catch
        Class:Reason:Stack ->
            ?LOG_ERROR("mod_offline_post: the metrics failed because of a defect (~ts)",
                       [mod_offline_post:defect(Class, Reason, Stack)]),
            refusal(500, "the reason is in ejabberd's log")
    end.

-spec respond([binary()], http_request()) -> response().
respond([], #request{method = Method, ip = {Ip, _}, headers = Headers, q = Query}) when Method =:= 'GET'; Method =:= 'HEAD' ->
    case select(protected(), Ip, token(header('Authorization', Headers))) of
        {ok, Endpoints} -> page(Endpoints, idle(Query), mod_offline_post_openmetrics:negotiate(header('Accept', Headers)));
        Refusal -> refuse(Refusal)
    end;
respond([], _Request) ->
    {405, [{<<"Allow">>, <<"GET, HEAD">>}, {<<"Content-Type">>, <<"text/plain">>}], "405: GET is what this page has\n"};
respond(_Path, _Request) ->
    refuse(unknown).

%% Whether the histograms of endpoints without an attempt are asked for: most of a page with many virtual hosts.
-spec idle([{binary(), binary()}]) -> all | none.
idle(Query) ->
    case lists:keyfind(<<"idle">>, 1, Query) of
        {_, <<"all">>} -> all;
        _ -> none
    end.

-spec page([mod_offline_post_figures:endpoint()], Idle :: all | none, mod_offline_post_openmetrics:format()) -> response().
page(Endpoints, Idle, Format) ->
    {Figures, Node} = mod_offline_post_figures:read(Endpoints, Idle),
    {200,
     [{<<"Content-Type">>, mod_offline_post_openmetrics:content_type(Format)}, {<<"Cache-Control">>, <<"no-store">>}],
     iolist_to_binary(mod_offline_post_openmetrics:page(Format, mod_offline_post_figures:families(Figures, Node)))}.

-spec refuse(unknown | no_token | no_access) -> response().
refuse(unknown) ->
    refusal(404, "there is nothing here");
refuse(no_token) ->
    {Status, Headers, Text} = refusal(401, "this page wants a token"),
    {Status, [{<<"WWW-Authenticate">>, <<"Bearer realm=\"mod_offline_post\"">>} | Headers], Text};
refuse(no_access) ->
    refusal(403, "not from your address").

-spec refusal(400..599, string()) -> response().
refusal(Status, Why) ->
    {Status, [{<<"Content-Type">>, <<"text/plain">>}], [integer_to_list(Status), ": ", Why, "\n"]}.

%%% Who may see what

-type protection() :: {mod_offline_post_figures:endpoint(), Token :: none | binary(), mod_offline_post_options:access()}.

%% Those that anybody may see who has what they ask for.
-spec protected() -> [protection()].
protected() ->
    [{{Host, Module}, Token, Access} ||
        Host <- ejabberd_option:hosts(),
        Module <- ?MODULES,
        gen_mod:is_loaded(Host, Module),
        Opts <- [gen_mod:get_module_opts(Host, Module)],
        {Token, Access} <- [{mod_offline_post_opt:metrics_token(Opts), mod_offline_post_opt:metrics_access(Opts)}],
        {Token, Access} =/= {none, none}].

%% What each asks for it must get: with both options, both.
-spec select([protection()], inet:ip_address(), Given :: binary()) ->
          {ok, [mod_offline_post_figures:endpoint()]} | unknown | no_token | no_access.
select([], _Ip, _Given) ->
    unknown;
select(Protected, Ip, Given) ->
    Reachable = [{Endpoint, Token} || {{Host, _} = Endpoint, Token, Access} <- Protected, is_allowed(Host, Access, Ip)],
    Digest = digest(Given),
    case {[Endpoint || {Endpoint, Token} <- Reachable, is_token(Token, Digest)], Reachable} of
        {[_ | _] = Endpoints, _} -> {ok, Endpoints};
        {[], [_ | _]} -> no_token;
        {[], []} -> no_access
    end.

-spec is_allowed(binary(), mod_offline_post_options:access(), inet:ip_address()) -> boolean().
is_allowed(_Host, none, _Ip) -> true;
is_allowed(Host, Access, Ip) -> acl:match_rule(Host, Access, #{ip => Ip}) =:= allow.

%% How long it takes tells nothing of the token.
-spec is_token(none | binary(), Digest :: binary()) -> boolean().
is_token(none, _Digest) -> true;
is_token(Token, Digest) -> crypto:hash_equals(digest(Token), Digest).

-spec digest(binary()) -> binary().
digest(Token) ->
    crypto:hash(sha256, Token).

%% Of `Bearer TOKEN` (RFC 6750); none: <<>>, which no token is.
-spec token(binary()) -> binary().
token(Header) ->
    case re:run(Header, "^Bearer +([^ ]+) *$", [caseless, {capture, [1], binary}, dollar_endonly]) of
        {match, [Token]} -> Token;
        nomatch -> <<>>
    end.

%% Repeated ones are one list (RFC 9110, section 5.3).
-spec header(atom(), [{atom() | binary(), binary()}]) -> binary().
header(Name, Headers) ->
    iolist_to_binary(lists:join(",", [Value || {Is, Value} <- Headers, Is =:= Name])).
