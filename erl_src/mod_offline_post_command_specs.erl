%% What ejabberd is told of the operator's commands, for ejabberdctl and mod_http_api; mod_offline_post_commands has what
%% they do. They are the node's: registered with the first virtual host of any of our modules, unregistered with the last.
-module(mod_offline_post_command_specs).

-export([register/0, unregister/0]).

-include("ejabberd_commands.hrl").

%% Whose they are: `ejabberdctl help` wants it to be a gen_mod.
-define(DEFINER, mod_offline_post).

%% Over HTTP a list of objects. Named otherwise, ejabberd would make one object of them all, which 24.12 fails to encode.
-define(KEY_AND_VALUE, {tuple, [{key, string}, {value, string}]}).

%% Those that are registered as they are here stay so: ejabberd 26.07 takes a second time for a grave mistake. What an
%% older version of this module has registered is replaced.
-spec register() -> ok.
register() ->
    case [Command || Command <- commands(), not lists:any(fun(Known) -> is_same(Command, Known) end, registered(Command))] of
        [] ->
            ok;
        New ->
            ok = ejabberd_commands:unregister_commands(lists:flatmap(fun registered/1, New)),
            ejabberd_commands:register_commands(?DEFINER, New)
    end.

-spec unregister() -> ok.
unregister() ->
    ejabberd_commands:unregister_commands(lists:flatmap(fun registered/1, commands())).

%% As ejabberd has it: until 24.12 it unregisters only what equals that.
-spec registered(#ejabberd_commands{}) -> [#ejabberd_commands{}].
registered(#ejabberd_commands{name = Name}) ->
    try [ejabberd_commands:get_command_definition(Name)]
    catch throw:_ -> []
    end.

-spec is_same(#ejabberd_commands{}, #ejabberd_commands{}) -> boolean().
is_same(#ejabberd_commands{desc = Desc, longdesc = Long, args = Args, args_desc = ArgsDesc, result = Result},
        #ejabberd_commands{desc = Desc, longdesc = Long, args = Args, args_desc = ArgsDesc, result = Result}) ->
    true;
is_same(_Command, _Known) ->
    false.

%%% The commands

-spec commands() -> [#ejabberd_commands{}].
commands() ->
    [node_command(offline_post_status, status, [],
                  "Show for each virtual host of this node whether notifications flow, and why not",
                  "State: healthy, probing or broken (the backend has trouble, and for how long), paused. 'why' also says how many "
                  "recipients wait behind a notification that failed, and how many notifications are retried out of order because "
                  "the backend keeps failing them. Ages are in seconds, 0 where there is none. 'spool': durable is well, degraded "
                  "means that the disk refuses.",
                  {endpoints, {list, {endpoint, {tuple, [{host, string}, {module, string}, {state, string}, {why, string},
                                                         {since, integer}, {pending, integer}, {in_flight, integer},
                                                         {oldest, integer}, {dead, integer}, {spool, string}]}}}},
                  "Virtual host, module, state, why, for how long, pending, in flight, age of the oldest, dead letters, spool",
                  [{<<"example.org">>, <<"mod_offline_post">>, <<"broken">>, <<"HTTP 503">>, 75, 120, 0, 75, 0, <<"durable">>}]),
     command(offline_post_test, test, [{user, binary, "The recipient's name: the part of the address before the @", <<"juliet">>}],
             "Send one POST now, and show it with the answer",
             "It is sent whatever state the endpoint is in; it is neither queued nor counted. What may be a secret is shown as "
             "'(hidden)'. A message's text says that it is a test. The exit status is 0 whatever the backend answers: 'result' says it.",
             {test, {list, {part, ?KEY_AND_VALUE}}}, "Names and values",
             [{"result", <<"HTTP 200">>}, {"status", <<"200">>}]),
     command(offline_post_flush, flush, [],
             "Try now what waits for a retry",
             "A backend that has trouble is probed at once. It ends no pause: offline_post_resume does.",
             {res, restuple}, "Whether it is tried", {ok, <<"what waits for example.org is tried now">>}),
     command(offline_post_stats, stats, [],
             "Show the counters of an endpoint",
             "All are of one moment, in which accepted = delivered + pending + dead + cancelled + purged. Of the pending: "
             "'out_of_order' (notifications that left their recipient's order, because the backend keeps failing them); "
             "'recipients_waiting' is how many recipients wait behind a notification that failed. Counted beside "
             "that since the node has started: 'given_up' (what became dead, whatever came of it since), 'limited' (by max_rate); "
             "of mod_offline_post 'duplicates' (messages that came on a second way) and 'vetoed' (by a "
             "handler of offline_post_event); and for the whole node 'hook_crashes', "
             "'commit_timeouts', 'uncommitted' and 'member_overflows'.",
             {stats, {list, {counter, ?KEY_AND_VALUE}}}, "Names and values",
             [{"accepted", <<"12">>}, {"pending", <<"2">>}, {"state", <<"healthy">>}]),
     command(offline_post_pause, pause, [],
             "Send nothing more for a virtual host until offline_post_resume",
             "Of one module: the others on that virtual host go on. What comes in is kept meanwhile. The pause outlives a restart.",
             {res, restuple}, "Whether it is paused", {ok, <<"paused example.org until offline_post_resume">>}),
     command(offline_post_resume, resume, [],
             "End any pause of a virtual host",
             "Also the one that begins when the backend answers 410.",
             {res, restuple}, "Whether it is resumed", {ok, <<"resumed example.org">>}),
     command(offline_post_dead_list, dead_list, [which(<<"all">>), after_number()],
             "List messages that failed for good, 100 at a time",
             "'which' is 'all', a message's id, or how the reason begins ('HTTP 4' means HTTP 404, HTTP 413 and so on). "
             "'after' is 0, and for the next page the number of the last line. "
             "A message's text is shown by offline_post_dead_show alone.",
             {letters, {list, {letter, {tuple, [{number, integer}, {id, string}, {to, string}, {from, string},
                                                {attempts, integer}, {status, integer}, {died, string},
                                                {reason, string}]}}}},
             "Number, id, recipient, sender, attempts, last HTTP status or 0, when and why it was given up",
             [{7, <<"msg_b9d1f3a07c5e2468_1f">>, <<"juliet@example.org">>, <<"romeo@example.net/orchard">>, 1, 413,
               <<"2026-01-31T12:00:00Z">>, <<"HTTP 413">>}]),
     command(offline_post_dead_show, dead_show, [id()],
             "Show everything about one message that failed for good, its text included",
             "'answer' is the beginning of what the backend answered last; 'stands_for' is how many messages it stands for.",
             {letter, {list, {field, ?KEY_AND_VALUE}}}, "Names and values",
             [{"id", <<"msg_b9d1f3a07c5e2468_1f">>}, {"reason", <<"HTTP 413">>}, {"body", <<"Good night!">>}]),
     command(offline_post_dead_replay, dead_replay, [which(<<"HTTP 404">>)],
             "Send messages that failed for good once more, under their old ids",
             "'which' is as in offline_post_dead_list. They are pending again, behind what waits already.",
             {replayed, integer}, "How many", 3),
     command(offline_post_dead_drop, dead_drop, [which(<<"msg_b9d1f3a07c5e2468_1f">>)],
             "Throw messages away that failed for good", "'which' is as in offline_post_dead_list. They are counted as cancelled.",
             {dropped, integer}, "How many", 1),
     node_command(offline_post_check_config, check_config, [],
                  "Check the configuration file before it is loaded, without changing or sending anything",
                  "Loads ejabberd.yml, and what it includes, in a VM of its own, as reload_config or a restart would: ejabberd's "
                  "options, and those of mod_offline_post, mod_available_post and mod_unavailable_post for each virtual host. "
                  "A mistake is an error that says what is wrong, and where. Of these modules no secret is shown; of others ejabberd "
                  "may repeat a wrong value. As a reload would, it creates directories that ejabberd's options name.",
                  {findings, {list, {finding, {tuple, [{host, string}, {module, string}, {result, string}, {text, string}]}}}},
                  "Virtual host or global, module, ok or warning, how or why",
                  [{<<"global">>, <<"ejabberd">>, <<"ok">>, <<"would load /etc/ejabberd/ejabberd.yml">>},
                   {<<"example.org">>, <<"mod_offline_post">>, <<"ok">>, <<"format json, to https://backend.example.org">>}]),
     node_command(offline_post_import, import,
                  [{file, binary, "The file's whole path, on this node", <<"/mnt/old-node/mod_offline_post.db">>}],
                  "Take over what waits in the spool of a node that is no more",
                  "The file mod_offline_post.db, with mod_offline_post.db-wal beside it, of a node that is stopped for good. Its "
                  "messages and dead letters become this node's, under their old ids, for the virtual hosts that run "
                  "mod_offline_post here; then the file is renamed to FILE.imported. It may be said again: what was taken "
                  "over is not taken twice. 'withdrawn' had been withdrawn and were left out, 'before' were taken over before.",
                  {imported, {list, {counter, ?KEY_AND_VALUE}}}, "Names and values",
                  [{"pending", <<"12">>}, {"dead", <<"1">>}, {"file", <<"/mnt/old-node/mod_offline_post.db.imported">>}])].

-type argument() :: {Name :: atom(), integer | binary, Desc :: string(), Example :: integer() | binary()}.

-spec which(binary()) -> argument().
which(Example) ->
    {which, binary, "'all', a message's id, or how the reason begins: 'HTTP 4' means HTTP 404, HTTP 413 and so on",
     Example}.

-spec after_number() -> argument().
after_number() ->
    {'after', integer, "List those with a larger number; 0: from the first one", 0}.

-spec id() -> argument().
id() ->
    {id, binary, "The message's id, as listed", <<"msg_b9d1f3a07c5e2468_1f">>}.

-spec command(atom(), atom(), [argument()], string(), string(), rterm(), string(), term()) -> #ejabberd_commands{}.
command(Name, Function, More, Desc, Long, Result, ResultDesc, ResultExample) ->
    node_command(Name, Function, [{host, binary, "The virtual host, or HOST/mod_available_post, HOST/mod_unavailable_post",
                                   <<"example.org">>} | More], Desc, Long, Result,
                 ResultDesc, ResultExample).

-spec node_command(atom(), atom(), [argument()], string(), string(), rterm(), string(), term()) -> #ejabberd_commands{}.
node_command(Name, Function, Args, Desc, Long, Result, ResultDesc, ResultExample) ->
    Example = lists:join(" ", [atom_to_list(Name) | [in_a_shell(Value) || {_, _, _, Value} <- Args]]),
    #ejabberd_commands{name = Name, tags = [offline_post], desc = Desc,
                       longdesc = lists:append([Long, "\nExample: ejabberdctl " | Example]),
                       module = mod_offline_post_commands, function = Function,
                       args = [{Arg, Type} || {Arg, Type, _, _} <- Args],
                       args_desc = [Text || {_, _, Text, _} <- Args],
                       args_example = [Value || {_, _, _, Value} <- Args],
                       result = Result, result_desc = ResultDesc, result_example = ResultExample}.

-spec in_a_shell(integer() | binary()) -> string().
in_a_shell(Number) when is_integer(Number) -> integer_to_list(Number);
in_a_shell(Text) ->
    case binary:match(Text, <<" ">>) of
        nomatch -> binary_to_list(Text);
        _ -> [$" | binary_to_list(Text)] ++ [$"]
    end.
