%% The configuration that is in effect, without what is nobody's business: of an option that is not named here, nothing
%% is shown.
-module(mod_offline_post_web_config).

-export([page/1, options/1, shown/2, shown_url/1]).

-import(mod_offline_post_web_html, [el/2, text/1, foreign/1, heading/2, table/3, bytes/1, duration/1, number/1]).

-define(HIDDEN, <<"(hidden)">>).

%% What a value may be shown as.
-define(TIMES, [timeout, connect_timeout, connection_max_age, shutdown_timeout, retry_schedule, max_age, dead_letter_retention,
                collapse_interval]).
-define(SIZES, [queue_bytes, spool_min_free]).
-define(PLAIN, [auth, badge, ca_file, cancel_when_online, client_cert, client_key, collapse, compress, content_type,
                dead_letter_limit, format, groupchat, http_version, include_sender, max_connections, members_notify,
                notify, notify_hanging_device, order, queue_limit, spool, spool_dir, sync_commit, tls_verify, traceparent, triggers]).

-spec page(mod_offline_post_web_page:view()) -> [mod_offline_post_web_html:html()].
page(#{name := Name}) ->
    {Own, Unset} = options(mod_offline_post_endpoint:options(Name)),
    Row = fun(Option, Texts) -> [[el(<<"code">>, [text(atom_to_binary(Option))])] | [[foreign(Text)] || Text <- Texts]] end,
    [el(<<"p">>, [text(<<"What is in effect here. Secrets, and what may hold one, are hidden.">>)]),
     heading(3, <<"Set in the configuration">>),
     table(<<"Set in the configuration">>, [<<"Option">>, <<"Value">>, <<"Default">>],
           [Row(Option, [Value, Default]) || {Option, Value, Default} <- Own]),
     heading(3, <<"As by default">>),
     table(<<"As by default">>, [<<"Option">>, <<"Value">>], [Row(Option, [Value]) || {Option, Value} <- Unset])].

%% Those that the operator has set, with their defaults, and the others.
-spec options(gen_mod:opts()) -> {[{atom(), binary(), binary()}], [{atom(), binary()}]}.
options(Opts) ->
    Defaults = maps:from_list([Default || {_, _} = Default <- mod_offline_post_options:defaults()]),
    {Own, Unset} = lists:partition(fun({Option, Value}) -> maps:find(Option, Defaults) =/= {ok, Value} end,
                                   lists:sort(maps:to_list(Opts))),
    {[{Option, shown(Option, Value), case Defaults of
                                         #{Option := Default} -> shown(Option, Default);
                                         _ -> <<>>
                                     end} || {Option, Value} <- Own],
     [{Option, shown(Option, Value)} || {Option, Value} <- Unset]}.

%% By name: of an option that we do not know, nothing is shown.
-spec shown(atom(), term()) -> binary().
shown(post_url, Url) -> shown_url(Url);
shown(proxy, none) -> <<"none">>;
shown(proxy, Url) -> shown_url(Url);
shown(auth_token, <<>>) -> <<"none">>;
shown(signing_secrets, []) -> <<"none">>;
shown(signing_secrets, Secrets) when is_list(Secrets) -> repeated(length(Secrets));
shown(headers, []) -> <<"none">>;
shown(headers, Headers) when is_list(Headers) -> names(Headers);
shown(Fields, none) when Fields =:= fields; Fields =:= room_fields -> <<"none: the format's">>;
shown(Fields, Map) when is_list(Map), Fields =:= fields orelse Fields =:= room_fields -> names(Map);
shown(include_body, Content) -> content(Content);
shown(max_age, #{} = PerKind) ->
    join([format("~ts: ~ts", [Kind, duration(Ms)]) || {Kind, Ms} <- lists:sort(maps:to_list(PerKind)), is_integer(Ms)]);
shown(batch, #{max_events := Events, max_delay := Ms, max_bytes := Bytes, format := Format}) ->
    format("~ts messages, ~ts, ~ts, ~ts", [number(Events), duration(Ms), bytes(Bytes), Format]);
shown(max_rate, #{} = Rates) ->
    join([format("~ts ~tp", [Name, Value]) || {Name, Value} <- lists:sort(maps:to_list(Rates)), is_integer(Value) orelse is_atom(Value)]);
shown(Option, none) when Option =:= batch; Option =:= max_rate; Option =:= collapse_interval; Option =:= metrics_token;
                         Option =:= metrics_access ->
    <<"none">>;
shown(queue_bytes, undefined) -> <<"8 GiB, or 256 MiB without a spool">>;
shown(spool_dir, <<>>) -> <<"ejabberd's spool directory">>;
shown(Option, Value) ->
    case {lists:member(Option, ?TIMES), lists:member(Option, ?SIZES), lists:member(Option, ?PLAIN)} of
        {true, _, _} when is_integer(Value) -> duration(Value);
        {true, _, _} when is_list(Value) -> join([duration(Ms) || Ms <- Value]);
        {_, true, _} when is_integer(Value) -> bytes(Value);
        {_, _, true} -> plain(Value);
        _ -> ?HIDDEN
    end.

-spec plain(term()) -> binary().
plain(<<>>) -> <<"none">>;
plain(Text) when is_binary(Text) -> Text;
plain(Number) when is_integer(Number) -> number(Number);
plain(http1) -> <<"1.1">>;
plain(http2) -> <<"2">>;
plain(Atom) when is_atom(Atom) -> atom_to_binary(Atom);
plain(List) when is_list(List) -> join([plain(Value) || Value <- List]);
plain(_) -> ?HIDDEN.

%% Where it goes, and no more: a path or a query may be a capability, and a name before the @ is one half of a password.
-spec shown_url(binary()) -> binary().
shown_url(Url) ->
    %% Templates stand behind the server's name only.
    case re:run(Url, "^(https?://)([^/?#]*@)?([^/?#@]*)(.*)$", [{capture, all_but_first, binary}, dotall, caseless]) of
        {match, [Scheme, Credentials, Server, Rest]} ->
            iolist_to_binary([Scheme, [[?HIDDEN, $@] || Credentials =/= <<>>], Server,
                              case Rest of
                                  <<>> -> <<>>;
                                  <<"/">> -> <<"/">>;
                                  _ -> [$/, ?HIDDEN]
                              end]);
        nomatch ->
            ?HIDDEN
    end.

-spec content(term()) -> binary().
content(Bool) when is_boolean(Bool) -> atom_to_binary(Bool);
content(Text) when is_binary(Text) -> <<"a fixed text">>;
content(#{} = PerKind) ->
    join([<<(atom_to_binary(Kind))/binary, ": ", (content(Content))/binary>> || {Kind, Content} <- lists:sort(maps:to_list(PerKind))]);
content(_) -> ?HIDDEN.

-spec names([{binary(), term()}]) -> binary().
names(Named) -> join([<<Name/binary, ": ", ?HIDDEN/binary>> || {Name, _} <- Named]).

-spec repeated(non_neg_integer()) -> binary().
repeated(N) -> join(lists:duplicate(N, ?HIDDEN)).

-spec join([binary()]) -> binary().
join(Texts) -> iolist_to_binary(lists:join(<<", ">>, Texts)).

-spec format(io:format(), [term()]) -> binary().
format(Format, Args) -> unicode:characters_to_binary(io_lib:format(Format, Args)).
