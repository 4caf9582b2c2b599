%% What `ejabberdctl man` and ejabberd's documentation say of the module. Each option's text names its default, and no
%% name in braces: asciidoc, which makes the manual, drops a paragraph that has one.
-module(mod_offline_post_doc).

-export([mod_doc/0]).
-export_type([doc/0]).

-type doc() :: #{desc := [binary()],
                 opts := [{atom(), #{value := binary() | string(), desc := binary()}}],
                 example := [string()]}.

-spec mod_doc() -> doc().
mod_doc() ->
    #{desc =>
          [<<"This module sends an HTTP POST to a URL of your choice for each message to a user who cannot be reached, "
             "for instance so that a backend can turn it into a push notification. The sender's session never waits "
             "for that: messages are queued, sent in the background and sent again when the backend has trouble. "
             "Each message is posted once for a recipient, whatever way it takes.">>,
           <<"By default the body is 'application/x-www-form-urlencoded' and has the fields 'to', 'from', 'body' and "
             "'access_token', in this order. The header 'webhook-id' is the same in all attempts to send a message.">>],
      opts =>
          [{post_url,
            #{value => <<"URL">>,
              desc => <<"Where to send the POST: an 'http' or 'https' URL. Path and query may have templates, as in "
                        "'fields'. This option is required.">>}},
           {auth_token,
            #{value => <<"Token">>,
              desc => <<"What the field 'access_token' holds, or what 'auth' says. The default is '\"\"'.">>}},
           {timeout,
            #{value => "timeout()",
              desc => <<"How long one attempt may take in all. The default is '10 seconds'.">>}},
           {connect_timeout,
            #{value => "timeout()",
              desc => <<"How long connecting may take, the TLS handshake included. The default is '5 seconds'.">>}},
           {shutdown_timeout,
            #{value => "timeout()",
              desc => <<"How long a stop of the module or of ejabberd waits for what is in flight and due; one limit "
                        "for all virtual hosts together. The default is '5 seconds'.">>}},
           {connection_max_age,
            #{value => "timeout()",
              desc => <<"How long a connection to the backend or its proxy is used, at least '1 second'. Then the name "
                        "is looked up again, a new connection is made, and the certificate is verified. 'ejabberdctl "
                        "reload_config' does the same at once. The default is '5 minutes'.">>}},
           {max_connections,
            #{value => "1..10000",
              desc => <<"How many connections to the backend may be open at once. Virtual hosts whose URLs have the "
                        "same scheme, host and port share them; then the largest counts. The default is '64'.">>}},
           {queue_limit,
            #{value => "pos_integer()",
              desc => <<"How many messages may wait. Over it, new ones are not taken, are counted as rejected and "
                        "reported in the log. The default is '1000000'.">>}},
           {queue_bytes,
            #{value => "pos_integer()",
              desc => <<"How many bytes of messages may wait. The default is '8589934592' (8 GiB), and with 'spool: "
                        "false' '268435456' (256 MiB).">>}},
           {format,
            #{value => "form | json | stanza",
              desc => <<"What the body of the POST is: 'form', the fields 'to', 'from', 'body' and 'access_token'; "
                        "'json', an object with all that is known of the message; 'stanza', the message as XML. "
                        "The default is 'form'.">>}},
           {content_type,
            #{value => <<"Type">>,
              desc => <<"The header 'Content-Type'. By default the format's: 'application/x-www-form-urlencoded', "
                        "'application/json' or 'application/xml', and 'application/x-ndjson' for batches of that "
                        "format.">>}},
           {fields,
            #{value => "none | {Name: Template, ...}",
              desc => <<"With 'format: form' or 'json', these fields instead of the format's own, in this order. A "
                        "value is a text in which a name within two pairs of braces, such as 'to.bare' or 'body', "
                        "stands for something of the message, and 'nick|from.user' for the first of these that is "
                        "not empty, as in the example; or a number, 'true', 'false' or 'null'; or a list or a map of "
                        "these. Put texts into double quotes. An unknown name is an error that lists all names. The "
                        "default is 'none': the format's own.">>}},
           {room_fields,
            #{value => "none | {Name: Template, ...}",
              desc => <<"The same for messages of rooms. The default is 'none': as 'fields'.">>}},
           {headers,
            #{value => "{Name: Template, ...}",
              desc => <<"Headers of the POST, with templates as in 'fields'. One with the name of a header that the "
                        "module sends replaces that. The default is '{}'.">>}},
           {auth,
            #{value => "body | bearer | basic | header",
              desc => <<"Where 'auth_token' goes: into the body, as 'access_token', or into the header "
                        "'Authorization', as 'Bearer' or 'Basic' credentials or as it is. With 'basic', a token of "
                        "the form 'user:password' is encoded. The default is 'body'.">>}},
           {signing_secrets,
            #{value => "[Secret, ...]",
              desc => <<"Secrets to sign the POST with, as Standard Webhooks has it: 'whsec_...' (HMAC-SHA256) or "
                        "'whsk_...' (ed25519). With several, each signs: that is how one is replaced by another. "
                        "The default is '[]'.">>}},
           {batch,
            #{value => "none | {max_events: Number, max_delay: timeout(), max_bytes: Number, format: array | ndjson}",
              desc => <<"With 'format: json', several messages in one POST: at most 'max_events' (100), none of which "
                        "waits for others longer than 'max_delay' (100 ms), in at most 'max_bytes' (1048576); as a "
                        "JSON array or as lines of JSON. The default is 'none'.">>}},
           {traceparent,
            #{value => "true | false",
              desc => <<"Whether each attempt has the header 'traceparent' (W3C Trace Context): all attempts of a message are "
                        "one trace, each with a span of its own. The default is 'false'.">>}},
           {compress,
            #{value => "none | gzip",
              desc => <<"Whether bodies over 1024 bytes are compressed. The default is 'none'.">>}},
           {http_version,
            #{value => "auto | 1.1 | 2",
              desc => <<"Which HTTP to speak. 'auto' is 2 where an 'https' backend offers it, else 1.1. "
                        "The default is 'auto'.">>}},
           {tls_verify,
            #{value => "true | false",
              desc => <<"Whether the certificate of an 'https' backend must be valid for its name. "
                        "The default is 'true'.">>}},
           {ca_file,
            #{value => <<"Path">>,
              desc => <<"A PEM file with the certificate authorities that may sign the backend's certificate. "
                        "By default the system's.">>}},
           {client_cert,
            #{value => <<"Path">>,
              desc => <<"A PEM file with the certificate to show to a backend that asks for one, and those between "
                        "it and its authority. Read again by 'ejabberdctl reload_config', as are 'ca_file' and "
                        "'client_key'. None by default.">>}},
           {client_key,
            #{value => <<"Path">>,
              desc => <<"A PEM file with the private key of 'client_cert', without a pass phrase. By default in "
                        "the file of 'client_cert'.">>}},
           {proxy,
            #{value => <<"none | URL">>,
              desc => <<"An HTTP proxy between here and the backend, as in 'http://user:password@proxy.example:3128'. "
                        "The environment is not looked at. The default is 'none'.">>}},
           {spool,
            #{value => "true | false",
              desc => <<"Whether messages wait on disk, where they outlive ejabberd and the machine. One setting for "
                        "the node: virtual hosts that differ in it are an error. The default is 'true'.">>}},
           {spool_dir,
            #{value => <<"Directory">>,
              desc => <<"The absolute path of the directory in which the file 'mod_offline_post.db' is kept. It must "
                        "exist and belong to the user that ejabberd runs as. One setting for the node. By default "
                        "ejabberd's own spool directory.">>}},
           {spool_min_free,
            #{value => "non_neg_integer()",
              desc => <<"New messages are not taken, and counted as rejected, while fewer than so many bytes are free "
                        "on the spool's disk. The default is '268435456' (256 MiB).">>}},
           {sync_commit,
            #{value => "true | false",
              desc => <<"Whether a client's session waits, for at most a second, until its message is safe on the disk; what "
                        "the server has acknowledged to its sender then survives a crash and a loss of power. No "
                        "process waits for messages that come from another server or from a component. A session "
                        "never waits for the backend. The default is 'false': a message is safe a few milliseconds "
                        "later.">>}},
           {retry_schedule,
            #{value => "[timeout(), ...]",
              desc => <<"How long to wait before the second attempt, before the third, and so on; the last one is "
                        "repeated. Each is spread a little. 'Retry-After' of the backend can make a wait longer, but "
                        "not longer than the longest in this list. The default is "
                        "'[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600]', in seconds.">>}},
           {max_age,
            #{value => "timeout() | {Kind: timeout(), ...}",
              desc => <<"A failure is final, and the message becomes a dead letter, when the next attempt would come "
                        "later than this after the message was accepted. By kind of message, 'default' is for the "
                        "kinds that are not named. A kind with a time of its own is never sent later than that. A "
                        "'call' always has one: 1 minute, or 'default' if that is shorter; 'call_end' has that of "
                        "'call'. The default is '24 hours'.">>}},
           {order,
            #{value => "recipient | none",
              desc => <<"With 'recipient', messages to one user are sent one after another, in their order: while one "
                        "waits for its next attempt, the following wait, too. With 'none' each is sent for itself. "
                        "The default is 'recipient'.">>}},
           {dead_letter_retention,
            #{value => "timeout()",
              desc => <<"How long messages that failed for good are kept as dead letters, to be looked at and sent "
                        "again. The default is '7 days'.">>}},
           {dead_letter_limit,
            #{value => "non_neg_integer()",
              desc => <<"How many dead letters are kept for a virtual host; the oldest are let go of first. "
                        "The default is '100000'.">>}},
           {triggers,
            #{value => "[offline | pending, ...]",
              desc => <<"When a message is posted. 'offline': when its recipient has no session. 'pending': when the "
                        "recipient's session waits to be resumed (XEP-0198), or ends with messages that its client "
                        "has not acknowledged. The default is '[offline, pending]'.">>}},
           {notify,
            #{value => "[Kind, ...]",
              desc => <<"Which kinds of message: 'text', 'encrypted', 'call', 'file', 'reaction', 'correction', "
                        "'retraction', 'marker', 'receipt', 'invitation', 'subject', 'headline', 'other'; and "
                        "'call_end', when a call ends that was posted. Chat states alone, blank texts, errors and "
                        "messages with XEP-0334's 'no-store' are never posted. The default is "
                        "'[text, encrypted, call, file, invitation]'.">>}},
           {notify_hanging_device,
            #{value => "true | false",
              desc => <<"Whether a message that a hanging session (XEP-0198) has lost is posted also when another "
                        "device of the user received it. The default is 'false'.">>}},
           {groupchat,
            #{value => "none | mucsub | members",
              desc => <<"Messages of rooms: 'mucsub' posts those for subscribers (MUC/Sub) and for occupants whose "
                        "session hangs, 'members' also those for each affiliated local user who is neither in the "
                        "room nor reachable. "
                        "The default is 'mucsub'.">>}},
           {members_notify,
            #{value => "all | mentions",
              desc => <<"With 'groupchat: members', whether all messages of a room are posted or only those that "
                        "mention the user. The default is 'all'.">>}},
           {include_body,
            #{value => "true | false | Text | {Kind: true | false | Text, ...}",
              desc => <<"What stands for the message's text: itself, nothing, or a fixed text; for all kinds or each "
                        "kind of its own, with 'default' for the others. What is left out is kept from the disk, too. "
                        "The default is 'true'.">>}},
           {include_sender,
            #{value => "true | false",
              desc => <<"Whether the POST tells who wrote the message. The default is 'true'.">>}},
           {cancel_when_online,
            #{value => "true | false",
              desc => <<"Whether what waits to be sent for a user is cancelled when the user comes online. "
                        "The default is 'false'.">>}},
           {collapse,
            #{value => "none | recipient | conversation",
              desc => <<"Whether a later message takes the place of one that waits: any for the same user, or only "
                        "of the same sender or room. The default is 'none'.">>}},
           {collapse_interval,
            #{value => "none | timeout()",
              desc => <<"With 'collapse', the shortest time between two POSTs that could have collapsed. "
                        "The default is 'none'.">>}},
           {max_rate,
            #{value => "none | {per_sender: Number, per_recipient: Number, beyond: drop | collapse}",
              desc => <<"How many messages of one sender, or for one recipient, are posted in a minute. More are "
                        "not posted ('drop'), or wait and take each other's place ('collapse', the default). "
                        "The default is 'none'.">>}},
           {badge,
            #{value => "none | events | stored",
              desc => <<"Which number the name 'badge' stands for, for the app's icon: 'events', how many messages were posted "
                        "for the user since they were last online; 'stored', how many the offline store holds. "
                        "The default is 'none'.">>}},
           {metrics_token,
            #{value => <<"none | Token">>,
              desc => <<"What Prometheus must send as a Bearer token to be shown this virtual host's metrics by the "
                        "request handler 'mod_offline_post_metrics': at least 16 characters. The default is 'none': "
                        "no token is asked for, but without 'metrics_access' nothing is shown either.">>}},
           {metrics_access,
            #{value => "AccessName",
              desc => <<"From which addresses this virtual host's metrics may be fetched: an access rule. With "
                        "'metrics_token', too, both are asked for. The default is 'none': the address is not asked "
                        "for, but without 'metrics_token' nothing is shown either.">>}}],
      example =>
          ["modules:",
           "  mod_offline_post:",
           "    post_url: \"https://push.example.org/offline\"",
           "    auth_token: \"a secret that the backend knows\"",
           "    auth: bearer",
           "    format: json",
           "    fields:",
           "      user: \"{{to.user}}\"",
           "      alert: {title: \"{{nick|from.user}}\", text: \"{{body}}\"}",
           "      badge: \"{{badge}}\"",
           "    headers:",
           "      X-Request-Host: \"{{host}}\"",
           "    signing_secrets: [\"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"]",
           "    compress: gzip",
           "    proxy: \"http://proxy.example.org:3128\"",
           "    timeout: 10 s",
           "    max_connections: 32",
           "    sync_commit: true",
           "    retry_schedule: [1 s, 10 s, 1 minute, 10 minutes]",
           "    max_age:",
           "      default: 2 days",
           "      call: 30 s",
           "    notify: [text, encrypted, call, call_end, file, invitation]",
           "    include_body:",
           "      default: true",
           "      encrypted: \"New message\"",
           "    max_rate:",
           "      per_sender: 60"]}.
