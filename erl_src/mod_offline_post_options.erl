%% The options: their types, as ejabberd's validators, and their defaults. A mistake is an error when the configuration
%% is loaded, which names the option and says what would be right, and never a secret. What a template, a header or a
%% signing secret may be, the native library says; without it such a mistake is found when the module starts.
-module(mod_offline_post_options).

-export([type/1, defaults/0]).
-export_type([access/0]).

%% The name of an access rule, or its text; for acl:match_rule/3.
-type access() :: none | atom() | [term()].

-define(KINDS, [text, encrypted, call, call_end, file, reaction, correction, retraction, marker, receipt, invitation,
                subject, headline, other]).

-spec type(atom()) -> econf:validator().
type(post_url) -> econf:and_then(econf:non_empty(econf:binary()), fun check_url/1);
type(auth_token) -> econf:and_then(econf:binary(), fun check_token/1);
type(timeout) -> duration();
type(connect_timeout) -> duration();
type(shutdown_timeout) -> duration();
type(connection_max_age) -> econf:and_then(duration(), econf:int(1000, timer:hours(24)));
type(max_connections) -> econf:int(1, 10000);
type(queue_limit) -> econf:int(1, 1000000000);
type(queue_bytes) -> econf:int(1, 1 bsl 50);
type(format) -> econf:enum([form, json, stanza]);
type(content_type) -> econf:and_then(econf:binary(), fun check_content_type/1);
type(fields) -> either_none(fun mod_offline_post_yaml:fields/1);
type(room_fields) -> either_none(fun mod_offline_post_yaml:fields/1);
type(headers) -> fun mod_offline_post_yaml:headers/1;
type(auth) -> econf:enum([body, bearer, basic, header]);
type(signing_secrets) -> fun mod_offline_post_yaml:secrets/1;
type(batch) -> either_none(batch());
type(compress) -> econf:enum([none, gzip]);
type(traceparent) -> econf:bool();
type(http_version) -> fun check_http_version/1;
type(tls_verify) -> econf:bool();
type(ca_file) -> pem("CERTIFICATE", "certificate");
type(client_cert) -> pem("CERTIFICATE", "certificate");
type(client_key) -> pem("([A-Z]+ )?PRIVATE KEY", "private key without a pass phrase");
type(proxy) -> either_none(econf:and_then(econf:binary(), fun check_proxy/1));
type(spool) -> econf:bool();
type(spool_dir) -> econf:and_then(econf:non_empty(econf:binary()), fun check_spool_dir/1);
type(spool_min_free) -> econf:int(0, 1 bsl 50);
type(sync_commit) -> econf:bool();
type(retry_schedule) -> econf:non_empty(econf:list(duration()));
type(max_age) -> fun check_max_age/1;
type(order) -> econf:enum([recipient, none]);
type(dead_letter_retention) -> long_duration();
type(dead_letter_limit) -> econf:int(0, 1000000000);
type(triggers) -> some_of([offline, pending]);
type(notify) -> some_of(?KINDS);
type(notify_hanging_device) -> econf:bool();
type(groupchat) -> econf:enum([none, mucsub, members]);
type(members_notify) -> econf:enum([all, mentions]);
type(include_body) -> fun check_include_body/1;
type(include_sender) -> econf:bool();
type(cancel_when_online) -> econf:bool();
type(collapse) -> econf:enum([none, recipient, conversation]);
type(collapse_interval) -> either_none(duration());
type(max_rate) -> either_none(econf:and_then(rates(), fun check_rates/1));
type(badge) -> econf:enum([none, events, stored]);
type(metrics_token) -> either_none(econf:and_then(econf:binary(), fun check_metrics_token/1));
type(metrics_access) -> econf:acl().

-spec defaults() -> [{atom(), term()} | atom()].
defaults() ->
    [post_url,
     {auth_token, <<>>},
     {timeout, timer:seconds(10)},
     {connect_timeout, timer:seconds(5)},
     {shutdown_timeout, timer:seconds(5)},
     {connection_max_age, timer:minutes(5)},
     {max_connections, 64},
     {queue_limit, 1000000},
     {queue_bytes, undefined},
     {format, form},
     {content_type, <<>>},
     {fields, none},
     {room_fields, none},
     {headers, []},
     {auth, body},
     {signing_secrets, []},
     {batch, none},
     {compress, none},
     {traceparent, false},
     {http_version, auto},
     {tls_verify, true},
     {ca_file, <<>>},
     {client_cert, <<>>},
     {client_key, <<>>},
     {proxy, none},
     {spool, true},
     {spool_dir, <<>>},
     {spool_min_free, 256 bsl 20},
     {sync_commit, false},
     {retry_schedule, [timer:seconds(Wait) || Wait <- [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600]]},
     {max_age, timer:hours(24)},
     {order, recipient},
     {dead_letter_retention, timer:hours(7 * 24)},
     {dead_letter_limit, 100000},
     {triggers, [offline, pending]},
     {notify, [text, encrypted, call, file, invitation]},
     {notify_hanging_device, false},
     {groupchat, mucsub},
     {members_notify, all},
     {include_body, true},
     {include_sender, true},
     {cancel_when_online, false},
     {collapse, none},
     {collapse_interval, none},
     {max_rate, none},
     {badge, none},
     {metrics_token, none},
     {metrics_access, none}].

%% A bare number is in seconds, as everywhere in ejabberd; "500 ms" is possible too. At most a day.
-spec duration() -> econf:validator().
duration() ->
    duration(1).

%% At most ten years.
-spec long_duration() -> econf:validator().
long_duration() ->
    duration(3650).

-spec duration(Days :: pos_integer()) -> econf:validator().
duration(Days) ->
    econf:and_then(econf:either(econf:timeout(second), econf:timeout(millisecond)),
                   econf:int(1, Days * timer:hours(24))).

%% One for all kinds; or a map from kinds, and `default`, to one each.
-spec check_max_age(term()) -> pos_integer() | #{default | mod_offline_post_event:kind() => pos_integer()}.
check_max_age([{_, _} | _] = PerKind) ->
    (econf:map(econf:enum([default | ?KINDS]), long_duration(), [unique, {return, map}]))(PerKind);
check_max_age(List) when is_list(List) ->
    invalid("expected a time, or a map from kinds of message to times");
check_max_age(All) ->
    (long_duration())(All).

-spec some_of([atom(), ...]) -> econf:validator().
some_of(Names) ->
    econf:non_empty(econf:list(econf:enum(Names), [unique])).

%% Not econf:either/2: of a mistake it would say only that `none` was expected.
-spec either_none(econf:validator()) -> econf:validator().
either_none(Validator) ->
    fun(None) when None =:= none; None =:= <<"none">> -> none;
       (Value) -> Validator(Value)
    end.

%% One for all; or a map from kinds, and `default`, to one each.
-spec check_include_body(term()) -> mod_offline_post_policy:content() | #{atom() => mod_offline_post_policy:content()}.
check_include_body([{_, _} | _] = PerKind) ->
    Kinds = econf:enum([default | ?KINDS]),
    (econf:map(Kinds, fun check_content/1, [unique, {return, map}]))(PerKind);
check_include_body(All) ->
    check_content(All).

%% Without quotes it is an atom.
-spec check_content(term()) -> mod_offline_post_policy:content().
check_content(Value) when is_atom(Value); is_binary(Value) ->
    (econf:either(econf:bool(), econf:non_empty(econf:binary())))(Value);
check_content(_) ->
    invalid("expected true, false or a text, or a map from kinds of message to one of these").

-spec rates() -> econf:validator().
rates() ->
    PerMinute = econf:int(1, 1000000),
    econf:options(#{per_sender => PerMinute, per_recipient => PerMinute, beyond => econf:enum([drop, collapse])},
                  [unique, {return, map}]).

-spec check_rates(map()) -> map().
check_rates(#{per_sender := _} = Rates) -> Rates;
check_rates(#{per_recipient := _} = Rates) -> Rates;
check_rates(_) -> invalid("expected per_sender or per_recipient, in messages per minute").

-spec batch() -> econf:validator().
batch() ->
    Given = econf:options(#{max_events => econf:int(2, 1000),
                            max_delay => econf:and_then(duration(), econf:int(1, timer:minutes(10))),
                            max_bytes => econf:int(1024, 64 bsl 20),
                            format => econf:enum([array, ndjson])},
                          [unique, {return, map}]),
    econf:and_then(Given, fun(Batch) ->
                                  maps:merge(#{max_events => 100, max_delay => 100, max_bytes => 1 bsl 20,
                                               format => array}, Batch)
                          end).

%% YAML makes numbers of 1.1 and 2.
-spec check_http_version(term()) -> auto | http1 | http2.
check_http_version(auto) -> auto;
check_http_version(<<"auto">>) -> auto;
check_http_version(1.1) -> http1;
check_http_version(<<"1.1">>) -> http1;
check_http_version(2) -> http2;
check_http_version(2.0) -> http2;
check_http_version(<<"2">>) -> http2;
check_http_version(_) -> invalid("expected auto, 1.1 or 2").

%% No text of ours repeats the URL: it may hold a secret.
-spec check_url(binary()) -> binary().
check_url(Url) ->
    Plain = re:replace(Url, "\\{\\{[^{}]*\\}\\}", "x", [global, {return, binary}]),
    case re:run(Plain, "^(https?://)?([\\x21-\\x7e]*)$", [{capture, [1], binary}, dollar_endonly]) of
        {match, [<<"http", _/binary>>]} ->
            Url = mod_offline_post_yaml:check(post_url, Url),
            check_authority(Url, uri_string:parse(re:replace(Plain, "[{}]", "x", [global, {return, binary}])));
        {match, [<<>>]} ->
            invalid("expected a URL that begins with http:// or https://");
        nomatch ->
            invalid("a URL has no spaces, control characters or letters beyond ASCII: percent-encode them, and in the "
                    "hostname write punycode (xn--...)")
    end.

-spec check_authority(binary(), uri_string:uri_map() | uri_string:error()) -> binary().
check_authority(_Url, #{host := <<>>}) -> invalid("the URL has no hostname");
check_authority(_Url, #{port := Port}) when is_integer(Port), Port < 1; is_integer(Port), Port > 65535 ->
    invalid("the URL's port is not one of 1 to 65535");
check_authority(Url, #{host := _}) -> Url;
check_authority(_Url, _) -> invalid("that is no valid URL: is the port a number, is every other character "
                                    "percent-encoded?").

-spec check_proxy(binary()) -> binary().
check_proxy(Url) ->
    case re:run(Url, "^https?://[\\x21-\\x7e]+$", [{capture, none}, dollar_endonly]) of
        match -> mod_offline_post_yaml:check(proxy, Url);
        nomatch -> invalid("expected a URL that begins with http:// or https://, for instance "
                           "http://user:password@proxy.example:3128; a hostname beyond ASCII in punycode (xn--...)")
    end.

%% The token itself appears in no message.
-spec check_token(binary()) -> binary().
check_token(Token) ->
    case re:run(Token, "[\\x00-\\x1f\\x7f]", [{capture, none}]) of
        nomatch -> Token;
        match -> invalid("control characters are not allowed in a token")
    end.

%% Nobody is to guess it, and RFC 6750 must be able to carry it. It appears in no message.
-spec check_metrics_token(binary()) -> binary().
check_metrics_token(Token) ->
    case re:run(Token, "^[\\x21-\\x7e]{16,}$", [{capture, none}, dollar_endonly]) of
        match -> Token;
        nomatch -> invalid("expected 16 or more ASCII characters without spaces, for instance what `openssl rand -hex 32` "
                           "prints")
    end.

%% RFC 9110, section 8.3.1
-spec check_content_type(binary()) -> binary().
check_content_type(Type) ->
    case re:run(Type, "^[!#$%&'*+.^_`|~0-9A-Za-z-]+/[!#$%&'*+.^_`|~0-9A-Za-z-]+( *;[\\x20-\\x7e]*)?$",
                [{capture, none}, dollar_endonly]) of
        match -> Type;
        nomatch -> invalid("expected a media type such as application/json")
    end.

%% Label: of the PEM block that must be there (RFC 7468).
-spec pem(Label :: string(), What :: string()) -> econf:validator().
pem(Label, What) ->
    econf:and_then(econf:file(), fun(Path) -> check_pem(Path, Label, What) end).

-spec check_pem(binary(), string(), string()) -> binary().
check_pem(Path, Label, What) ->
    case file:read_file(Path) of
        {ok, Bytes} ->
            case {re:run(Bytes, ["-----BEGIN ", Label, "-----"], [{capture, none}]),
                  re:run(Bytes, "ENCRYPTED", [{capture, none}])} of
                {match, nomatch} -> Path;
                {match, match} when Label =:= "CERTIFICATE" -> Path;
                _ -> invalid(["no PEM ", What, " in ", Path])
            end;
        {error, Why} ->
            invalid([file:format_error(Why), ": ", Path])
    end.

%% Whether it is there and may be written to is found out when the spool is opened: then a mistake, or a disk that
%% is mounted late, is one line in the log, while here it would keep ejabberd from starting.
-spec check_spool_dir(binary()) -> binary().
check_spool_dir(Path) ->
    case filename:pathtype(Path) of
        absolute -> Path;
        _ -> invalid(["expected an absolute path, got ", Path])
    end.

-spec invalid(iodata()) -> no_return().
invalid(Why) ->
    econf:fail({invalid_syntax, Why}).
