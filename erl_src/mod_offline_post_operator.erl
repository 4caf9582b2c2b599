%% What an operator asks of one endpoint: its counters, to pause it, and its dead letters.
-module(mod_offline_post_operator).

-export([status/0, seen/2, stats/1, observe/1, why/2, disk_silent/1, failing/1, test/2, flush/1, pause/1, resume/1, dead_letters/4,
         dead_letter/2, replay/2, drop/2, import/1]).
-export_type([selection/0, endpoint/0]).

-type name() :: mod_offline_post_endpoint:name().

%% Which dead letters. reason: those whose reason begins so; "HTTP 4" finds those with "HTTP 404" and "HTTP 413".
-type selection() :: all | {id, binary()} | {reason, binary()}.

%% No slice of work is longer, so that nothing else waits for it.
-define(LONGEST_LIST, 1000).

%% Until when an answer is waited for (ms). Bulk work goes in slices and goes on even if nobody waits any more;
%% ejabberdctl gives up after 60 s.
-define(LIST_MS, 10000).
-define(GRACE_MS, 2000).
-define(BULK_MS, 50000).

-spec stats(name()) -> #{atom() => integer() | atom()} | undefined.
stats(Name) ->
    case native(fun() -> mod_offline_post_nif:stats(mod_offline_post_endpoint:named(Name)) end) of
        {error, unknown} -> undefined;
        undefined -> undefined;
        Stats -> maps:merge(maps:merge(Stats, mod_offline_post_incidents:counts()),
                            of_messages(mod_offline_post_endpoint:named(Name)))
    end.

%% A sibling has no messages, which could come twice or meet a veto.
-spec of_messages(mod_offline_post_nif:key()) -> #{atom() => non_neg_integer()}.
of_messages({Host, <<"mod_offline_post">>}) -> mod_offline_post_notify:counts(Host);
of_messages(_Sibling) -> #{}.

%% One line for each endpoint of this node that is configured.
-type endpoint() :: #{host := binary(), module := module(), stats := map(), observed := map()}.

-spec status() -> [endpoint()].
status() ->
    [endpoint(Host, Module) || Host <- lists:sort(ejabberd_option:hosts()), Module <- mod_offline_post_endpoint:modules(),
                               gen_mod:is_loaded(Host, Module)].

%% What does not run is the most important line of all.
-spec endpoint(binary(), module()) -> endpoint().
endpoint(Host, Module) ->
    case seen(Host, Module) of
        {Stats, Observed} ->
            #{host => Host, module => Module, stats => Stats, observed => Observed};
        undefined ->
            #{host => Host, module => Module,
              stats => #{pending => 0, in_flight => 0, dead => 0, spool => unknown},
              observed => #{state => stopped, why => <<"it does not run: ejabberd's log says why">>, since => 0,
                            oldest_pending => 0}}
    end.

%% undefined: it does not run.
-spec seen(binary(), module()) -> {#{atom() => integer() | atom()}, mod_offline_post_nif:observed()} | undefined.
seen(Host, Module) ->
    Key = mod_offline_post_endpoint:key(Host, Module),
    case mod_offline_post_native:ask(fun() -> {mod_offline_post_nif:stats(Key), mod_offline_post_nif:observe(Key)} end, undefined) of
        {#{}, #{}} = Seen -> Seen;
        _ -> undefined
    end.

%% One line: why an endpoint is in its state, and what the backend fails though it accepts others. <<>>: all is well.
-spec why(Stats :: map(), Observed :: map()) -> binary().
why(Stats, #{why := Why}) ->
    iolist_to_binary(lists:join("; ", [Part || Part <- [disk_silent(Stats), Why, failing(Stats)], Part =/= <<>>])).

%% The spool's disk, where it has not answered for some seconds; <<>>: it does.
-spec disk_silent(Stats :: map() | undefined) -> binary().
disk_silent(#{disk_silent := Seconds}) when Seconds > 0 ->
    unicode:characters_to_binary(
      io_lib:format("the disk of spool_dir has not answered for ~B s: new notifications wait in memory until it does; look "
                    "at the disk", [Seconds]));
disk_silent(_Stats) ->
    <<>>.

%% A node of an older version counts neither.
-spec failing(Stats :: map()) -> binary().
failing(Stats) ->
    Said = waiting(maps:get(recipients_waiting, Stats, 0)) ++ out_of_order(maps:get(out_of_order, Stats, 0)),
    iolist_to_binary(lists:join("; ", Said)).

-spec waiting(non_neg_integer()) -> [iodata()].
waiting(0) -> [];
waiting(1) -> ["1 recipient waits behind a notification that failed"];
waiting(N) -> [[integer_to_list(N), " recipients wait behind a notification that failed"]].

-spec out_of_order(non_neg_integer()) -> [iodata()].
out_of_order(0) -> [];
out_of_order(1) -> ["1 notification that the backend keeps failing is retried out of order"];
out_of_order(N) -> [[integer_to_list(N), " notifications that the backend keeps failing are retried out of order"]].

-spec observe(name()) -> mod_offline_post_nif:observed() | undefined.
observe(Name) ->
    case native(fun() -> mod_offline_post_nif:observe(mod_offline_post_endpoint:named(Name)) end) of
        {error, unknown} -> undefined;
        Observed -> Observed
    end.

%% A POST for User, who need not exist, as of a text that he was sent by himself; or of a session of his. User: the part
%% of the address before the @, or all of it without a resource.
-spec test(name(), User :: binary()) -> {ok, mod_offline_post_nif:tested()} | {error, unknown | timeout | user}.
test(Name, User) ->
    {Host, _} = Key = mod_offline_post_endpoint:named(Name),
    case {mod_offline_post_endpoint:is_loaded(Name), localpart(User, Host)} of
        {false, _} -> {error, unknown};
        {true, error} -> {error, user};
        {true, Local} -> send_test(Name, test_event(Key, Local))
    end.

-spec localpart(binary(), binary()) -> binary() | error.
localpart(User, Host) ->
    {Local, Domain} = case binary:split(User, <<"@">>) of
                          [Before, After] -> {Before, After};
                          [_] -> {User, Host}
                      end,
    case {jid:nodeprep(Local), jid:nameprep(Domain)} of
        {<<_, _/binary>> = Prepared, Host} -> Prepared;
        _ -> error
    end.

-spec test_event(mod_offline_post_nif:key(), binary()) -> mod_offline_post_nif:event().
test_event({Host, <<"mod_offline_post">>}, User) ->
    Address = {User, Host, <<>>},
    Text = <<"A test of mod_offline_post: what you read here was sent by an operator of ", Host/binary>>,
    {<<"text">>, Address, Address, <<"offline-post-test">>, Text, <<>>,
     [{<<"trigger">>, <<"offline">>}, {<<"stored">>, <<"none">>}]};
test_event({Host, Sibling}, User) ->
    mod_offline_post_presence:event(Sibling, {User, Host, <<"offline-post-test">>}).

-spec send_test(name(), mod_offline_post_nif:event()) -> {ok, mod_offline_post_nif:tested()} | {error, unknown | timeout}.
send_test(Name, Event) ->
    native(fun() ->
                   mod_offline_post_await:answer(
                     offline_post_tested, fun() -> mod_offline_post_nif:test(mod_offline_post_endpoint:named(Name), Event) end,
                     mod_offline_post_opt:timeout(mod_offline_post_endpoint:options(Name)) + ?GRACE_MS)
           end).

%% What waits for a retry is tried now. It ends no pause.
-spec flush(name()) -> ok | {error, unknown}.
flush(Name) ->
    native(fun() -> mod_offline_post_nif:hasten(mod_offline_post_endpoint:named(Name)) end).

-spec pause(name()) -> ok | {error, unknown}.
pause(Name) ->
    native(fun() -> mod_offline_post_nif:pause(mod_offline_post_endpoint:named(Name)) end).

-spec resume(name()) -> ok | {error, unknown}.
resume(Name) ->
    native(fun() -> mod_offline_post_nif:resume(mod_offline_post_endpoint:named(Name)) end).

%% At most Limit (and 1,000), in the order of their sequences, those after After. Next: where the list goes on.
-spec dead_letters(name(), selection(), After :: non_neg_integer(), Limit :: pos_integer()) ->
          {ok, [mod_offline_post_nif:letter()], Next :: pos_integer() | undefined} | {error, unknown | timeout}.
dead_letters(Name, Selection, After, Limit) ->
    case ask(Name, {list, filter(Selection), After, min(Limit, ?LONGEST_LIST)}, ?LIST_MS) of
        {ok, {Letters, Next}} -> {ok, Letters, Next};
        Error -> Error
    end.

-spec dead_letter(name(), Id :: binary()) ->
          {ok, mod_offline_post_nif:letter()} | {error, unknown | not_found | timeout}.
dead_letter(_Name, <<>>) ->
    {error, not_found};
dead_letter(Name, Id) ->
    case dead_letters(Name, {id, Id}, 0, 1) of
        {ok, [Letter | _], _} -> {ok, Letter};
        {ok, [], _} -> {error, not_found};
        Error -> Error
    end.

-spec replay(name(), selection()) -> {ok, Count :: non_neg_integer()} | {error, unknown | timeout}.
replay(Name, Selection) ->
    ask(Name, {replay, filter(Selection)}, ?BULK_MS).

-spec drop(name(), selection()) -> {ok, Count :: non_neg_integer()} | {error, unknown | timeout}.
drop(Name, Selection) ->
    ask(Name, {drop, filter(Selection)}, ?BULK_MS).

%% What another node's spool has left, for all virtual hosts. timeout: it goes on.
-spec import(File :: binary()) ->
          {ok, mod_offline_post_nif:imported()} | {error, unknown | busy | timeout | {refused, binary()}}.
import(File) ->
    case filename:pathtype(File) of
        absolute -> mod_offline_post_import:import(File, ?BULK_MS);
        _ -> {error, {refused, <<"name the file with its whole path, from / on">>}}
    end.

-spec filter(selection()) -> mod_offline_post_nif:filter().
filter(all) -> #{id => <<>>, reason => <<>>};
filter({id, <<_, _/binary>> = Id}) -> #{id => Id, reason => <<>>};
filter({reason, <<_, _/binary>> = Reason}) -> #{id => <<>>, reason => Reason}.

-spec ask(name(), mod_offline_post_nif:dead_request(), pos_integer()) -> {ok, term()} | {error, unknown | timeout}.
ask(Name, Request, Timeout) ->
    native(fun() ->
                   mod_offline_post_await:answer(
                     offline_post_dead, fun() -> mod_offline_post_nif:dead(mod_offline_post_endpoint:named(Name), Request) end, Timeout)
           end).

%% Where nothing native is loaded, no endpoint is known.
-spec native(fun(() -> Answer)) -> Answer | {error, unknown}.
native(Ask) -> mod_offline_post_native:ask(Ask, {error, unknown}).
