# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_aimass_agent_global_optspecs
    string join \n log= log-json h/help V/version
end

function __fish_aimass_agent_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_aimass_agent_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_aimass_agent_using_subcommand
    set -l cmd (__fish_aimass_agent_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c aimass-agent -n "__fish_aimass_agent_needs_command" -l log -d 'What is logged to stderr: `error`, `warn`, `info`, `debug`, or by module as in `info,aimass_mqtt=debug`' -r
complete -c aimass-agent -n "__fish_aimass_agent_needs_command" -l log-json -d 'Logs as lines of JSON'
complete -c aimass-agent -n "__fish_aimass_agent_needs_command" -s h -l help -d 'Print help'
complete -c aimass-agent -n "__fish_aimass_agent_needs_command" -s V -l version -d 'Print version'
complete -c aimass-agent -n "__fish_aimass_agent_needs_command" -f -a "run" -d 'Runs the node as its configuration says, until SIGTERM'
complete -c aimass-agent -n "__fish_aimass_agent_needs_command" -f -a "demo" -d 'Everything in one process: a clip or camera, a broker of its own, the page; events as lines of JSON'
complete -c aimass-agent -n "__fish_aimass_agent_needs_command" -f -a "validate" -d 'Tells everything that is wrong with a configuration'
complete -c aimass-agent -n "__fish_aimass_agent_needs_command" -f -a "reference" -d 'Prints the configuration reference (Markdown) or its JSON Schema'
complete -c aimass-agent -n "__fish_aimass_agent_needs_command" -f -a "probe" -d 'Tells what this board has: cameras, decoders, CPU, memory, temperatures, disk, models'
complete -c aimass-agent -n "__fish_aimass_agent_needs_command" -f -a "analyze" -d 'Looks at a clip, a picture or a folder of pictures offline: one line of JSON a frame'
complete -c aimass-agent -n "__fish_aimass_agent_needs_command" -f -a "models" -d 'The models that this node can run'
complete -c aimass-agent -n "__fish_aimass_agent_needs_command" -f -a "events" -d 'Events of the local store, as lines of JSON'
complete -c aimass-agent -n "__fish_aimass_agent_needs_command" -f -a "bench" -d 'Measures the stages\' costs on this machine'
complete -c aimass-agent -n "__fish_aimass_agent_needs_command" -f -a "keygen" -d 'Makes a key that signs configurations and commands; prints the lines that make a node trust it'
complete -c aimass-agent -n "__fish_aimass_agent_needs_command" -f -a "sign" -d 'BoardReadings a configuration or a command for one node, and sends it if asked to'
complete -c aimass-agent -n "__fish_aimass_agent_needs_command" -f -a "verify" -d 'Tells who signed an envelope, for whom, and whether what it says is valid'
complete -c aimass-agent -n "__fish_aimass_agent_needs_command" -f -a "config" -d 'The configurations of this node: what ran, what was refused, what can be brought back'
complete -c aimass-agent -n "__fish_aimass_agent_needs_command" -f -a "reload" -d 'Tells the running node to read its configuration file again'
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand run" -l config -d 'The configuration file' -r -F
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand run" -l log -d 'What is logged to stderr: `error`, `warn`, `info`, `debug`, or by module as in `info,aimass_mqtt=debug`' -r
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand run" -l log-json -d 'Logs as lines of JSON'
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand run" -s h -l help -d 'Print help'
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand demo" -l source -d 'What to look at, e.g. `file:/path/clip.mp4?loop=true`, `rtsp://…`, `test:`' -r
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand demo" -l broker -d 'A broker to publish to, instead of one inside this process: `mqtt://host:1883`' -r
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand demo" -l seconds -d 'Ends by itself after so many seconds' -r
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand demo" -l listen -d 'Where the page is served' -r
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand demo" -l chain -d 'Analyzers to run on each frame, in this order' -r
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand demo" -l fps -d 'Frames a second to analyse, at most' -r
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand demo" -l models -d 'Folders with models, in place of the usual ones' -r -F
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand demo" -l summary -d 'Writes the summary as JSON to this file too' -r -F
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand demo" -l log -d 'What is logged to stderr: `error`, `warn`, `info`, `debug`, or by module as in `info,aimass_mqtt=debug`' -r
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand demo" -l log-json -d 'Logs as lines of JSON'
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand demo" -s h -l help -d 'Print help'
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand validate" -l config -d 'The configuration file' -r -F
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand validate" -l log -d 'What is logged to stderr: `error`, `warn`, `info`, `debug`, or by module as in `info,aimass_mqtt=debug`' -r
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand validate" -l on-this-board -d 'Measures its chains and cameras on this machine too, and refuses what the machine cannot carry'
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand validate" -l json -d 'Answers with a JSON document'
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand validate" -l log-json -d 'Logs as lines of JSON'
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand validate" -s h -l help -d 'Print help'
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand reference" -l log -d 'What is logged to stderr: `error`, `warn`, `info`, `debug`, or by module as in `info,aimass_mqtt=debug`' -r
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand reference" -l schema -d 'The schema instead of the reference'
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand reference" -l log-json -d 'Logs as lines of JSON'
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand reference" -s h -l help -d 'Print help'
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand probe" -l config -d 'A configuration whose chains and cameras are measured here: what they cost, and how many fit' -r -F
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand probe" -l log -d 'What is logged to stderr: `error`, `warn`, `info`, `debug`, or by module as in `info,aimass_mqtt=debug`' -r
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand probe" -l json -d 'Answers with a JSON document'
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand probe" -l log-json -d 'Logs as lines of JSON'
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand probe" -s h -l help -d 'Print help'
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand analyze" -l source -d 'A clip (`file:/path/clip.mp4`), a picture (`file:/path/x.jpg`) or a folder of pictures (`file:/path`)' -r
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand analyze" -l chain -d 'Analyzers, in this order' -r
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand analyze" -l every -d 'Analyses every Nth frame only' -r
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand analyze" -l out -d 'Where the lines go; `-` is stdout' -r -F
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand analyze" -l min-score -d 'Findings below this score are left out. Default: the model\'s own' -r
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand analyze" -l model -d 'The model of the first analyzer, in place of its default' -r
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand analyze" -l engine -d 'What runs the models, where it can; default: what is fastest here' -r -f -a "tract\t''
engine-f32\t''
engine-int8\t''"
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand analyze" -l models -d 'Folders with models, in place of the usual ones' -r -F
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand analyze" -l log -d 'What is logged to stderr: `error`, `warn`, `info`, `debug`, or by module as in `info,aimass_mqtt=debug`' -r
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand analyze" -l log-json -d 'Logs as lines of JSON'
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand analyze" -s h -l help -d 'Print help'
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand models; and not __fish_seen_subcommand_from list verify bench" -l models -d 'Folders with models, in place of the usual ones' -r -F
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand models; and not __fish_seen_subcommand_from list verify bench" -l log -d 'What is logged to stderr: `error`, `warn`, `info`, `debug`, or by module as in `info,aimass_mqtt=debug`' -r
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand models; and not __fish_seen_subcommand_from list verify bench" -l log-json -d 'Logs as lines of JSON'
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand models; and not __fish_seen_subcommand_from list verify bench" -s h -l help -d 'Print help'
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand models; and not __fish_seen_subcommand_from list verify bench" -f -a "list" -d 'Lists them with version, task, licence, size, and whether the file is there and right'
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand models; and not __fish_seen_subcommand_from list verify bench" -f -a "verify" -d 'Replays the recorded answers of each model and compares'
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand models; and not __fish_seen_subcommand_from list verify bench" -f -a "bench" -d 'Measures each model by all that can run it, and remembers the fastest'
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand models; and __fish_seen_subcommand_from list" -l models -d 'Folders with models, in place of the usual ones' -r -F
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand models; and __fish_seen_subcommand_from list" -l log -d 'What is logged to stderr: `error`, `warn`, `info`, `debug`, or by module as in `info,aimass_mqtt=debug`' -r
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand models; and __fish_seen_subcommand_from list" -l json -d 'Answers with a JSON document'
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand models; and __fish_seen_subcommand_from list" -l log-json -d 'Logs as lines of JSON'
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand models; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help'
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand models; and __fish_seen_subcommand_from verify" -l models -d 'Folders with models, in place of the usual ones' -r -F
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand models; and __fish_seen_subcommand_from verify" -l log -d 'What is logged to stderr: `error`, `warn`, `info`, `debug`, or by module as in `info,aimass_mqtt=debug`' -r
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand models; and __fish_seen_subcommand_from verify" -l json -d 'Answers with a JSON document'
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand models; and __fish_seen_subcommand_from verify" -l log-json -d 'Logs as lines of JSON'
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand models; and __fish_seen_subcommand_from verify" -s h -l help -d 'Print help'
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand models; and __fish_seen_subcommand_from bench" -l runs -d 'Timed runs of each' -r
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand models; and __fish_seen_subcommand_from bench" -l threads -d 'Also how long the engine takes when so many threads share a model\'s layers' -r
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand models; and __fish_seen_subcommand_from bench" -l models -d 'Folders with models, in place of the usual ones' -r -F
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand models; and __fish_seen_subcommand_from bench" -l log -d 'What is logged to stderr: `error`, `warn`, `info`, `debug`, or by module as in `info,aimass_mqtt=debug`' -r
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand models; and __fish_seen_subcommand_from bench" -s v -l verbose -d 'Also what each kind of layer takes, and what the engine leaves to tract'
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand models; and __fish_seen_subcommand_from bench" -l json -d 'Answers with a JSON document'
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand models; and __fish_seen_subcommand_from bench" -l log-json -d 'Logs as lines of JSON'
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand models; and __fish_seen_subcommand_from bench" -s h -l help -d 'Print help'
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand events" -l config -d 'The configuration file, for the store\'s place' -r -F
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand events" -l store -d 'The store itself' -r -F
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand events" -l since -d 'Not older than this: a time (`2026-11-23T08:00:00Z`) or an age (`90s`, `15m`, `2h`, `7d`)' -r
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand events" -l limit -d 'At most so many, the newest; 10000 at most' -r
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand events" -l log -d 'What is logged to stderr: `error`, `warn`, `info`, `debug`, or by module as in `info,aimass_mqtt=debug`' -r
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand events" -l follow -d 'Goes on with new events until interrupted'
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand events" -l log-json -d 'Logs as lines of JSON'
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand events" -s h -l help -d 'Print help'
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand bench" -l source -d 'A clip' -r
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand bench" -l chain -d 'Analyzers, in this order' -r
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand bench" -l fps -d 'Frames a second of the clip that are analysed; 0 is all' -r
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand bench" -l gate -d 'Whether idle frames are held back from the models, as in `run`' -r -f -a "on\t'As in `run`'
off\t'Every frame is analysed'"
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand bench" -l json -d 'Writes the figures to this file' -r -F
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand bench" -l engine -d 'What runs the models, where it can; default: what is fastest here' -r -f -a "tract\t''
engine-f32\t''
engine-int8\t''"
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand bench" -l models -d 'Folders with models, in place of the usual ones' -r -F
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand bench" -l log -d 'What is logged to stderr: `error`, `warn`, `info`, `debug`, or by module as in `info,aimass_mqtt=debug`' -r
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand bench" -l log-json -d 'Logs as lines of JSON'
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand bench" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand keygen" -l out -d 'The file for the secret key. It must not exist yet. Keep it off the nodes' -r -F
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand keygen" -l id -d 'What nodes call the key, as in `ops-2026`. Default: the file\'s name' -r
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand keygen" -l log -d 'What is logged to stderr: `error`, `warn`, `info`, `debug`, or by module as in `info,aimass_mqtt=debug`' -r
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand keygen" -l log-json -d 'Logs as lines of JSON'
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand keygen" -s h -l help -d 'Print help'
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand sign" -l key -d 'The secret key, from `aimass-agent keygen`' -r -F
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand sign" -l id -d 'What nodes call the key' -r
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand sign" -l version -d 'The configuration\'s version: higher than any before' -r
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand sign" -l site -d 'The site of the node. Default: what `[node]` of the file says' -r
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand sign" -l node -d 'The node. Default: what `[node]` of the file says' -r
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand sign" -l not-after -d 'Not valid after this time (`2026-11-24T10:00:00Z`) or so long from now (`60s`, `15m`, `2h`). A command lasts 60 s if nothing is said, a configuration for ever' -r
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand sign" -l command -d 'BoardReadings a command of this name instead of a configuration' -r
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand sign" -l nonce -d 'The command\'s nonce: 16 to 64 characters, never used before; `auto` makes one' -r
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand sign" -l boot -d 'The life of the node that the command is for, as its `status` says. A board whose clock is not set needs it' -r
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand sign" -l body -d 'The command\'s arguments as JSON' -r
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand sign" -l out -d 'Where the envelope goes; `-` is stdout. Default: stdout, or nowhere if it is published' -r -F
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand sign" -l publish -d 'Sends it through this broker: `mqtts://host:8883`' -r
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand sign" -l username -d 'The user name that the broker asks for' -r
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand sign" -l password-file -d 'A file with the password and nothing else' -r -F
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand sign" -l ca-file -d 'PEM certificates that the broker\'s may be signed by. Default: the system\'s' -r -F
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand sign" -l cert-file -d 'A PEM file with the certificate that this command shows to the broker' -r -F
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand sign" -l key-file -d 'The private key to it' -r -F
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand sign" -l wait-s -d 'Seconds to wait for it' -r
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand sign" -l log -d 'What is logged to stderr: `error`, `warn`, `info`, `debug`, or by module as in `info,aimass_mqtt=debug`' -r
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand sign" -l allow-plaintext -d 'Allows `mqtt://` to another machine'
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand sign" -l wait -d 'Waits for the node\'s answer and prints it'
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand sign" -l log-json -d 'Logs as lines of JSON'
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand sign" -s h -l help -d 'Print help'
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand verify" -l config -d 'The file of the node that it is for: its `[trust]` decides, and the body is laid over it' -r -F
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand verify" -l public-key -d 'A public key to check against, in place of a node\'s file: `ed25519:…`' -r
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand verify" -l log -d 'What is logged to stderr: `error`, `warn`, `info`, `debug`, or by module as in `info,aimass_mqtt=debug`' -r
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand verify" -l log-json -d 'Logs as lines of JSON'
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand verify" -s h -l help -d 'Print help'
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand config; and not __fish_seen_subcommand_from history show rollback" -l log -d 'What is logged to stderr: `error`, `warn`, `info`, `debug`, or by module as in `info,aimass_mqtt=debug`' -r
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand config; and not __fish_seen_subcommand_from history show rollback" -l log-json -d 'Logs as lines of JSON'
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand config; and not __fish_seen_subcommand_from history show rollback" -s h -l help -d 'Print help'
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand config; and not __fish_seen_subcommand_from history show rollback" -f -a "history" -d 'What was offered, and what became of it; the newest last'
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand config; and not __fish_seen_subcommand_from history show rollback" -f -a "show" -d 'The configuration of a revision as JSON, of the last known good one if none is named'
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand config; and not __fish_seen_subcommand_from history show rollback" -f -a "rollback" -d 'Brings back the configuration before the present one, or a named one. The running node tries it like any other; if none runs, the next start does'
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand config; and __fish_seen_subcommand_from history" -l config -d 'The node\'s configuration file' -r -F
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand config; and __fish_seen_subcommand_from history" -l log -d 'What is logged to stderr: `error`, `warn`, `info`, `debug`, or by module as in `info,aimass_mqtt=debug`' -r
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand config; and __fish_seen_subcommand_from history" -l json -d 'Answers with a JSON document'
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand config; and __fish_seen_subcommand_from history" -l log-json -d 'Logs as lines of JSON'
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand config; and __fish_seen_subcommand_from history" -s h -l help -d 'Print help'
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand config; and __fish_seen_subcommand_from show" -l config -d 'The node\'s configuration file' -r -F
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand config; and __fish_seen_subcommand_from show" -l revision -d 'Which one, as in `config history`' -r
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand config; and __fish_seen_subcommand_from show" -l log -d 'What is logged to stderr: `error`, `warn`, `info`, `debug`, or by module as in `info,aimass_mqtt=debug`' -r
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand config; and __fish_seen_subcommand_from show" -l log-json -d 'Logs as lines of JSON'
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand config; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand config; and __fish_seen_subcommand_from rollback" -l config -d 'The node\'s configuration file' -r -F
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand config; and __fish_seen_subcommand_from rollback" -l to -d 'Which one, as in `config history`' -r
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand config; and __fish_seen_subcommand_from rollback" -l log -d 'What is logged to stderr: `error`, `warn`, `info`, `debug`, or by module as in `info,aimass_mqtt=debug`' -r
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand config; and __fish_seen_subcommand_from rollback" -l wait -d 'Waits until the configuration has proved itself, was refused or taken back, and tells which'
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand config; and __fish_seen_subcommand_from rollback" -l log-json -d 'Logs as lines of JSON'
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand config; and __fish_seen_subcommand_from rollback" -s h -l help -d 'Print help'
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand reload" -l config -d 'The configuration file' -r -F
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand reload" -l log -d 'What is logged to stderr: `error`, `warn`, `info`, `debug`, or by module as in `info,aimass_mqtt=debug`' -r
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand reload" -l wait -d 'Waits until the configuration has proved itself, was refused or taken back, and tells which'
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand reload" -l log-json -d 'Logs as lines of JSON'
complete -c aimass-agent -n "__fish_aimass_agent_using_subcommand reload" -s h -l help -d 'Print help'
