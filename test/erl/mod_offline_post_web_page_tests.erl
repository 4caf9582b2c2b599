%% What is said of an endpoint's state, and of a test POST.
-module(mod_offline_post_web_page_tests).

-include_lib("eunit/include/eunit.hrl").

-define(NOW, 1800000000000).
-define(URL, <<"https://u:s3cret@backend.example/s3cret">>).

sentence_test() ->
    [?assertEqual({Seen, Kind, Word, true}, {Seen, GotKind, GotWord, string:find(Sentence, Part) =/= nomatch})
     || {Seen, Kind, Word, Part} <-
            [{#{}, good, <<"Notifications flow">>, <<"backend.example/(hidden) takes what it is sent.">>},
             {#{since => ?NOW - 300000}, good, <<"Notifications flow">>, <<"and has for 5 min.">>},
             {#{oldest_pending => ?NOW - 59000}, good, <<"Notifications flow">>, <<"takes what it is sent">>},
             {#{oldest_pending => ?NOW - 3600000}, warn, <<"Notifications flow, but some wait long">>, <<"60 min old">>},
             {#{recipients_waiting => 2}, warn, <<"Notifications flow, but some fail">>,
              <<"takes others, but 2 recipients wait behind a notification that failed. The last">>},
             {#{recipients_waiting => 1, out_of_order => 2, oldest_pending => ?NOW - 3600000}, warn,
              <<"Notifications flow, but some fail">>,
              <<"but 1 recipient waits behind a notification that failed; 2 notifications that the backend keeps failing are retried "
                "out of order. The oldest pending notification is 60 min old. The last">>},
             {#{state => probing, since => ?NOW - 300000, why => <<"HTTP 503">>}, bad, <<"Probing: the backend has had trouble for 5 min">>,
              <<"HTTP 503. One request at a time">>},
             {#{state => broken, why => <<"could not connect">>}, bad, <<"Waiting to probe: the backend has had trouble">>,
              <<"Could not connect. One">>},
             {#{state => paused, since => ?NOW - 7200000, why => <<"answered 410 Gone">>}, bad, <<"Paused for 2 h">>,
              <<"Answered 410 Gone. Nothing is sent and nothing is lost: 3 notifications wait.">>},
             {#{state => stopped}, bad, <<"Stopped">>, <<"ejabberd's log">>}],
        {GotKind, GotWord, Sentence} <- [sentence(Seen)]].

%% Neither in a reason from elsewhere nor in the URL.
harmless_test() ->
    {_, _, Sentence} = sentence(#{state => broken, why => <<"<b>", 255, "\nx">>}),
    ?assertNotEqual(nomatch, string:find(Sentence, <<"<b>\x{FFFD}\x{FFFD}x"/utf8>>)),
    ?assertEqual(nomatch, binary:match(Sentence, <<"s3cret">>)).

sentence(Seen) ->
    Stats = maps:merge(#{pending => 3}, maps:with([recipients_waiting, out_of_order], Seen)),
    mod_offline_post_web_page:sentence(Stats, maps:merge(#{state => healthy, since => 0, why => <<>>, oldest_pending => 0}, Seen),
                                       ?NOW, ?URL).

tested_test() ->
    Request = #{url => <<"https://a.example/(hidden)">>, headers => [{<<"webhook-id">>, <<"msg_1">>}], body => <<"a=", 255, "<b>">>},
    Tested = fun(Status, Reason, Answer) ->
                     {Kind, Els} = mod_offline_post_web_page:tested({ok, #{request => Request, status => Status, reason => Reason,
                                                                           answer => Answer, us => 12345}}),
                     {Kind, fxml:element_to_binary({xmlel, <<"div">>, [], Els})}
             end,
    [begin
         {Got, Page} = Tested(Status, Reason, Answer),
         ?assertEqual({Status, Kind}, {Status, Got}),
         [?assertNotEqual({Part, nomatch}, {Part, binary:match(Page, Part)})
          || Part <- [<<"POST https://a.example/(hidden)\nwebhook-id: msg_1\n\na=\x{FFFD}&lt;b&gt;"/utf8>>, <<"12 ms">> | Parts]]
     end || {Status, Reason, Answer, Kind, Parts} <-
                [{200, <<>>, <<"<i>">>, good, [<<"has taken">>, <<"HTTP 200">>, <<"&lt;i&gt;">>]},
                 {500, <<"HTTP 500">>, <<>>, bad, [<<"has not taken">>, <<"<bdi>HTTP 500</bdi>">>, <<"no body">>]},
                 {0, <<"Could not resolve <host>">>, <<>>, bad, [<<"Could not resolve &lt;host&gt;">>]}]],
    [?assertMatch({bad, [_ | _]}, mod_offline_post_web_page:tested({error, Why})) || Why <- [unknown, timeout]].
