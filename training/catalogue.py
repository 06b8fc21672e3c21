"""Tools that people really have, with the ordinary requests for them. Names, order and wording vary; values never repeat.

One entry: names | descriptions | parameters `name/name:kind` (`?` optional) | requests with `{0}`, `{1}` for the values.
"""

import random
from dataclasses import dataclass

from training.tools import Call, Parameter, Request, Tool
from training.values import value
from training.words import Pools

ENTRIES = """
get_weather/get_current_weather/weather/fetch_weather | Get the current weather in a given location/Get current weather for a city/Current weather/Get current temperature for a given location/Weather for a place | location/city/place:city | What is the weather in {0}?/What's the weather like in {0}?/Weather in {0}/How is the weather in {0} today?/Is it raining in {0}?/What is the temperature in {0}?/Tell me the weather in {0}/what is the weather like in {0} today?
get_current_weather/get_weather | Get the current weather in a given location/Get the weather | location/city:city; unit/units:=celsius,fahrenheit? | What is the weather in {0}?/What's the weather like in {0}?/What is the weather in {0} in {1}?/Weather in {0} in {1} please/How warm is it in {0}, in {1}?/Get the weather for {0} in {1}
get_forecast/forecast/weather_forecast | Get the weather forecast for a city/Forecast for the next days | city/location:city; days:number | Forecast for {0} for the next {1} days/What will the weather be in {0} for {1} days?/Give me the {1} day forecast for {0}
get_current_time/get_time/time_get_current_time/current_time | Get current time in a specific timezone/Get current time in a specific timezones/Get the current time/Tell the time in a city | timezone:zone | What time is it in {0}?/What is the time in {0}?/Tell me the time in {0}/Current time in {0}/What's the time in {0} now?/time in {0}
get_current_time/get_time/clock | Get the current time in a city/Get the current time/Time at a place | city/location/place:city | What time is it in {0}?/What is the time in {0}?/Tell me the time in {0}/Current time in {0}/time in {0}
get_time/current_time/now/clock | Get the current time/Tell the time | | What time is it?/What is the time?/Tell me the time/What's the time now?/Do you have the time?
get_date/today | Get the current date/Tell today's date | | What day is it?/What is the date today?/What's today's date?/Tell me the date
add/get-sum/sum/add_numbers/get_sum/everything_get-sum/everything_get_sum | Add two numbers/Returns the sum of two numbers/Adds two numbers/Sum of two numbers/ | a/x/first:number; b/y/second:number | Add {0} and {1}/add {0} and {1}/What is {0} + {1}?/What is {0} plus {1}?/Sum {0} and {1}/What is the sum of {0} and {1}?/How much is {0} plus {1}?/{0} + {1}/Calculate {0} + {1}/please add {0} to {1}/Compute {0} plus {1}
subtract/minus | Subtract two numbers/Subtract b from a | a/x:number; b/y:number | What is {0} - {1}?/{0} minus {1}/What is {0} minus {1}?/Calculate {0} - {1}
multiply/product/mul | Multiply two numbers/Product of two numbers | a/x:number; b/y:number | Multiply {0} by {1}/What is {0} times {1}?/{0} * {1}/{0} times {1}/What is {0} * {1}?/Multiply {0} and {1}
divide | Divide two numbers/Divide a by b | a/x:number; b/y:number | Divide {0} by {1}/What is {0} divided by {1}?/{0} / {1}
square_root/sqrt | Square root of a number/Calculate the square root | x/number/value:number | What is the square root of {0}?/Square root of {0}/sqrt of {0}
send_email/email_send/mail_send_email/send_mail | Send an email/Send an email to a recipient/Sends a mail | to/recipient/address:email; subject/title:phrase | Send an email to {0} with subject "{1}"/Send an email to {0} with the subject {1}/Email {0} with subject "{1}"/Write an email to {0} about "{1}"/Please send an email to {0}, subject: {1}/Send a mail to {0} about {1}
send_email/send_mail | Send an email message/Send an email | to:email; subject:phrase; body/text/message:phrase | Send an email to {0} with subject "{1}" and body "{2}"/Email {0}, subject "{1}", text "{2}"/Send {0} an email saying "{2}" with the subject "{1}"
send_message/message/sms_send | Send a message to a person/Send a text message/Message a contact | to/recipient/person:person; text/message:phrase | Send a message to {0}: {1}/Tell {0} "{1}"/Send {0} the message "{1}"/Message {0} saying {1}/Text {0} "{1}"
echo/everything_echo/echo_text | Echoes back the input string/Echoes back the input/Echo a message/Repeat a message | message/text:phrase | Echo "{0}"/Echo {0}/Echo the message "{0}"/Use echo to say {0}/Call echo with "{0}"/echo {0}/Please echo "{0}"/Use the echo tool with the message "{0}"/Echo back {0}
read_file/read_text_file/filesystem_read_file/fs_read_file/filesystem_read_text_file | Read the complete contents of a file from the file system/Read a file/Read the complete contents of a file as text | path/file:path | Read the file {0}/Read {0}/What is in the file {0}?/Show me the contents of {0}/Open {0}/Please read {0}/Show the file {0}/read {0}
write_file/filesystem_write_file | Write a file/Create a new file or completely overwrite an existing file/Write text to a file | path/file:path; content/text:phrase | Write "{1}" to {0}/Write "{1}" to the file {0}/Create the file {0} with "{1}"/Save "{1}" in {0}
list_directory/filesystem_list_directory/list_files/ls | Get a detailed listing of all files and directories in a path/List the files in a folder/List a directory | path/directory/folder:path | List the files in {0}/List {0}/What files are in {0}?/List the directory {0}/Show the files in {0}/What is in the folder {0}?/list the folder {0}
create_directory/filesystem_create_directory/mkdir | Create a new directory or ensure a directory exists/Create a folder | path:path | Create the folder {0}/Make a directory {0}/Create a directory named {0}/Create the directory {0}
move_file/filesystem_move_file | Move or rename files and directories/Move a file | source:path; destination:path | Move {0} to {1}/Move the file {0} to {1}/Rename {0} to {1}
search_files/filesystem_search_files | Recursively search for files and directories matching a pattern/Search for files | path:path; pattern:word | Search {0} for files matching {1}/Find files named {1} in {0}
get_file_info/filesystem_get_file_info | Retrieve detailed metadata about a file or directory/Get information about a file | path:path | Get info about {0}/How big is the file {0}?/Show the metadata of {0}
delete_file/remove_file | Delete a file/Remove a file | path/file:path | Delete {0}/Delete the file {0}/Remove {0}
convert_time/time_convert_time | Convert time between timezones | source_timezone:zone; time:time; target_timezone:zone | Convert {1} from {0} to {2}/What is {1} in {0} in {2} time?
convert_currency/exchange/currency_convert | Convert an amount between currencies/Convert money from one currency to another | amount:number; from/source:currency; to/target:currency | Convert {0} {1} to {2}/How much is {0} {1} in {2}?/Change {0} {1} into {2}/What is {0} {1} in {2}?
translate/translate_text | Translate text into another language/Translate a text | text:phrase; language/target_language/to:language | Translate "{0}" to {1}/Translate "{0}" into {1}/How do you say "{0}" in {1}?/What is "{0}" in {1}?
search/web_search/search_web/google | Search the web/Search the internet/Find pages on the web | query/q:phrase | Search for {0}/Search the web for {0}/Look up {0}/Google {0}/Find {0} on the web/search {0}
search_nodes/memory_search_nodes | Search for nodes in the knowledge graph based on a query | query:phrase | Search nodes for {0}/Search the knowledge graph for {0}/Find nodes about {0}
read_graph/memory_read_graph | Read the entire knowledge graph | | Read the graph/Show the knowledge graph/Read the entire knowledge graph/What is in the knowledge graph?
open_nodes/memory_open_nodes | Open specific nodes in the knowledge graph by their names | names:names | Open the nodes {0}/Open the node {0}
delete_entities/memory_delete_entities | Delete multiple entities and their associated relations from the knowledge graph | entityNames:names | Delete the entities {0}/Delete the entity {0}
fetch/fetch_url/get_page/open_url | Fetches a URL from the internet/Fetch a web page/Open a page | url:url | Fetch {0}/Get the page {0}/Open {0}/What is on {0}?/Download {0}/Please fetch {0}
git_status/git_git_status | Shows the working tree status/Show the git status | repo_path/path:path | Show the git status of {0}/What is the status of the repository {0}?/git status in {0}
git_log/git_git_log | Shows the commit logs/Show the commits | repo_path/path:path; max_count:number? | Show the git log of {0}/Show the commits in {0}/Show the last {1} commits in {0}/git log of {0}
git_checkout | Switches branches/Switch to a branch | repo_path:path; branch_name:word | Check out the branch {1} in {0}/Switch {0} to branch {1}
set_alarm/create_alarm | Set an alarm/Set an alarm for a time | time:time | Set an alarm for {0}/Wake me up at {0}/Alarm at {0}
set_timer/start_timer/timer | Set a timer/Start a timer | minutes:number | Set a timer for {0} minutes/Start a {0} minute timer/Timer for {0} minutes
create_reminder/remind/add_reminder | Create a reminder/Remind the user of something | text/message:phrase; time:time | Remind me at {1} to {0}/Remind me to {0} at {1}/Set a reminder at {1}: {0}
create_event/add_event/calendar_create_event | Create a calendar event/Add an event to the calendar | title:phrase; date:date | Create an event "{0}" on {1}/Add "{0}" to my calendar on {1}/Schedule "{0}" for {1}
get_events/list_events | List the events of a day/Get calendar events | date/day:date | What is on my calendar on {0}?/List my events for {0}/What are my events on {0}?
get_stock_price/stock_price/quote | Get the stock price of a company/Get the price of a stock | symbol/ticker:upper | What is the stock price of {0}?/Stock price of {0}/How is {0} stock doing?/Price of {0}
get_news/news | Get the latest news/Get news about a topic | topic:word | News about {0}/What is the news about {0}?/Get me the news on {0}
define/get_definition/dictionary | Define a word/Get the definition of a word/Look up a word | word:word | Define {0}/What does {0} mean?/What is the definition of {0}?/Define the word {0}
play_music/play_song/play | Play a song/Play music | song/title:phrase | Play {0}/Play the song {0}/Play the song "{0}"/I want to hear "{0}"
set_volume/volume | Set the volume/Change the volume | level/volume:number | Set the volume to {0}/Volume {0}/Turn the volume to {0}
set_light/switch_light/light | Turn the light on or off/Switch a light | on/enabled/state:switch | Turn the light {0}/Switch the light {0}/Light {0}
set_temperature/thermostat | Set the thermostat/Set the room temperature | degrees/temperature:number | Set the temperature to {0}/Set the thermostat to {0} degrees/Make it {0} degrees
random_number/roll | Get a random number in a range/Random number | min:number; max:number | Random number between {0} and {1}/Give me a random number from {0} to {1}
flip_coin/coin/roll_dice/dice | Flip a coin/Toss a coin | | Flip a coin/Toss a coin/Heads or tails?
book_flight/flight_booking | Book a flight/Book a flight to a city | destination/to:city; date:date | Book a flight to {0} on {1}/I want to fly to {0} on {1}/Book me a flight to {0} for {1}
get_flights/search_flights/find_flights | Search for flights/Find flights between two cities | origin/from:city; destination/to:city | Find flights from {0} to {1}/Search flights from {0} to {1}/Flights from {0} to {1}
book_hotel/reserve_hotel | Book a hotel in a city | city:city; nights:number | Book a hotel in {0} for {1} nights/I need a hotel in {0} for {1} nights
get_population/population | Get the population of a city | city/place:city | How many people live in {0}?/What is the population of {0}?/Population of {0}
get_distance/distance | Distance between two cities | from/origin:city; to/destination:city | How far is it from {0} to {1}?/Distance from {0} to {1}/What is the distance between {0} and {1}?
get_user/find_user/lookup_user | Get a user by name/Find a user/Look up a person | name/user:person | Find the user {0}/Who is {0}?/Look up {0}/Get the user {0}
create_user/add_user | Create a user/Add a new user | name:person; email:email | Create a user {0} with email {1}/Add the user {0} with the email {1}
get_order/order_status/track_order | Get the status of an order/Track an order | order_id/id:code | Where is my order {0}?/What is the status of order {0}?/Track order {0}/Show order {0}
run_command/shell/execute/bash | Run a shell command/Execute a command | command/cmd:phrase | Run "{0}"/Run the command "{0}"/Execute "{0}"
save_note/add_note/take_note | Save a note/Take a note | text/note:phrase | Take a note: {0}/Note "{0}"/Save the note "{0}"/Write down: {0}
greet/say_hello/hello | Greet a person/Greet someone by name/Say hello to a person | name/person:person | Greet {0}/Say hello to {0}/Please greet {0}/Use the tool to greet {0}
print-env/printEnv/get-env/everything_get-env/everything_get_env | Prints all environment variables, helpful for debugging MCP server configuration/Returns all environment variables, helpful for debugging MCP server configuration | | Print the environment variables/Show the environment variables/Print the environment/Which environment variables are set?
get-tiny-image/everything_get-tiny-image/everything_get_tiny_image | Returns a tiny MCP logo image/Returns the MCP_TINY_IMAGE | | Show me a tiny image/Get the tiny image/Give me the MCP logo
trigger-long-running-operation/longRunningOperation | Demonstrates a long running operation with progress updates | duration:number?; steps:number? | Start a long running operation with duration {0} and {1} steps/Run the long running operation for {0} seconds/Start a long running operation
get-annotated-message/annotatedMessage | Demonstrates how annotations can be used to provide metadata about content | messageType:=error,success,debug; includeImage:switch? | Get an annotated message of type {0}/Show an annotated {0} message
get-structured-content/structuredContent | Returns structured content along with an output schema for client data validation | location:=New York,Chicago,Los Angeles | Get structured content for {0}/Structured content for {0}
list_models/models_list_models/models | List the models/List the models of this host | | List the models/Which models are there?/Show the models
load_model/models_load_model | Load a model | model/model_id/name:word | Load the model {0}/Please load {0}/Load {0}
unload_model | Unload a model | model/model_id/name:word | Unload the model {0}/Unload {0}
get-resource-links/everything_get-resource-links | Returns up to ten resource links that reference different types of resources | count:number? | Get {0} resource links/Show me {0} resource links/Get the resource links
get-resource-reference/everything_get-resource-reference | Returns a resource reference that can be used by MCP clients | resourceType:=Text,Blob?; resourceId:number? | Get a resource reference of type {0} with id {1}/Get the {0} resource reference {1}
gzip-file-as-resource/everything_gzip-file-as-resource | Compresses a single file using gzip compression | name:path?; data:url?; outputType:=resourceLink,resource? | Compress the file {0} from {1} with gzip/Gzip {1} as {0}
toggle-simulated-logging/everything_toggle-simulated-logging | Toggles simulated, random-leveled logging on or off | | Toggle the simulated logging/Toggle logging/Switch the simulated logging
toggle-subscriber-updates/everything_toggle-subscriber-updates | Toggles simulated resource subscription updates on or off | | Toggle the subscriber updates/Toggle the subscription updates
simulate-research-query/everything_simulate-research-query | Simulates a deep research operation that gathers, analyzes, and synthesizes information | topic:phrase; ambiguous:switch? | Simulate a research query about {0}/Research {0}/Do research on the topic {0}
directory_tree/filesystem_directory_tree | Get a recursive tree view of files and directories as a JSON structure | path:path | Show the directory tree of {0}/Tree view of {0}/Get the tree of {0}
list_allowed_directories/filesystem_list_allowed_directories | Returns the list of directories that this server is allowed to access | | Which directories are allowed?/List the allowed directories/Which directories can you access?
read_text_file/read_file/filesystem_read_file | Read the complete contents of a file from the file system as text | path:path; tail:number?; head:number? | Read the file {0}/Read {0}/Show the first {2} lines of {0}/Show the last {1} lines of {0}/What is in {0}?
get_weather_data/weather_api | Get weather data for a city and date | city/location:city; date:date | What was the weather in {0} on {1}?/Weather in {0} on {1}/Get the weather data of {0} for {1}
create_ticket/open_issue/create_issue | Create a ticket/Create a new issue in a repository | title:phrase | Create an issue "{0}"/Open a ticket with the title "{0}"/New issue: {0}
query_database/run_query/sql | Run a query against the database | query/sql:phrase | Query the database: {0}/Run the query "{0}"
power/pow | Raise a number to a power | base/x:number; exponent/y:number | {0} to the power of {1}/What is {0} to the power of {1}?/Raise {0} to the power {1}
sequentialthinking | A detailed tool for dynamic and reflective problem-solving through thoughts | thought:phrase | Think about {0}/Use sequential thinking about {0}
""".strip().split("\n")  # noqa: E501 - one tool a line reads as the table that it is

# Cities of the tz database, for parameters that are called a timezone.
ZONES = {
    "Paris": "Europe/Paris", "London": "Europe/London", "Berlin": "Europe/Berlin", "Tokyo": "Asia/Tokyo",
    "Madrid": "Europe/Madrid", "Rome": "Europe/Rome", "New York": "America/New_York", "Sydney": "Australia/Sydney",
    "Vienna": "Europe/Vienna", "Prague": "Europe/Prague", "Oslo": "Europe/Oslo", "Cairo": "Africa/Cairo",
    "Los Angeles": "America/Los_Angeles", "Chicago": "America/Chicago", "Singapore": "Asia/Singapore",
    "Shanghai": "Asia/Shanghai", "Dubai": "Asia/Dubai", "Toronto": "America/Toronto", "Zurich": "Europe/Zurich",
    "Europe/Paris": "Europe/Paris", "Asia/Tokyo": "Asia/Tokyo", "America/New_York": "America/New_York", "UTC": "UTC",
    "Lisbon": "Europe/Lisbon", "Dublin": "Europe/Dublin", "Athens": "Europe/Athens", "Warsaw": "Europe/Warsaw",
    "Stockholm": "Europe/Stockholm", "Helsinki": "Europe/Helsinki", "Seoul": "Asia/Seoul", "Moscow": "Europe/Moscow",
    "Istanbul": "Europe/Istanbul", "Amsterdam": "Europe/Amsterdam", "Brussels": "Europe/Brussels", "Denver": "America/Denver",
    "Bangkok": "Asia/Bangkok", "Jakarta": "Asia/Jakarta", "Hong Kong": "Asia/Hong_Kong", "Lagos": "Africa/Lagos",
    "Nairobi": "Africa/Nairobi", "Lima": "America/Lima", "Budapest": "Europe/Budapest", "Copenhagen": "Europe/Copenhagen",
    "Europe/London": "Europe/London", "Asia/Kolkata": "Asia/Kolkata", "Africa/Nairobi": "Africa/Nairobi",
}  # fmt: skip


SERVERS = "everything time filesystem memory git fetch fs mcp server tools mcp_everything mcp_time my local api".split()


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One parsed line of the catalogue."""

    names: list[str]
    descriptions: list[str]
    slots: list[str]
    requests: list[str]


def parse(line: str) -> Entry:
    """The fields of one line. A slash inside a request counts only between requests, so `{0} / {1}` has spaces."""
    names, descriptions, slots, requests = (part.strip() for part in line.split("|"))
    requests = requests.replace(" / ", "\0")
    return Entry(
        names=names.split("/"),
        descriptions=[d.strip() for d in descriptions.split("/")],
        slots=[s.strip() for s in slots.split(";") if s.strip()],
        requests=[r.replace("\0", " / ") for r in requests.split("/")],
    )


CATALOGUE = [parse(line) for line in ENTRIES]


def real_tool(rng: random.Random) -> tuple[Tool, Entry]:
    """A tool of the catalogue; the everyday ones at its top more often."""
    entry = rng.choice(CATALOGUE if rng.random() > 0.3 else CATALOGUE[:20])
    return tool_of(rng, entry), entry


def tool_of(rng: random.Random, entry: Entry) -> Tool:
    """The entry's tool under one of its names."""
    parameters = []
    for slot in entry.slots:
        names, kind = slot.split(":")
        optional, kind = kind.endswith("?"), kind.removesuffix("?")
        choices = tuple(kind[1:].split(",")) if kind.startswith("=") else ()
        name = rng.choice(names.split("/"))
        parameters.append(Parameter(name=name, kind=kind, required=not optional, choices=choices))
    name = rng.choice(entry.names)
    if rng.random() < 0.12:
        name = f"{rng.choice(SERVERS)}_{name}"
    return Tool(name=name, description=rng.choice(entry.descriptions), parameters=tuple(parameters))


def real_request(rng: random.Random, tool: Tool, entry: Entry, pools: Pools) -> Request:
    """An ordinary request for a tool of the catalogue; arguments that it does not mention are left out."""
    wording = rng.choice(entry.requests)
    arguments: dict[str, object] = {}
    for index, parameter in enumerate(tool.parameters):
        slot = f"{{{index}}}"
        if slot not in wording:
            continue
        if parameter.choices:
            text = json = rng.choice(parameter.choices)
        elif parameter.kind == "zone":
            text = rng.choice([zone for zone in ZONES if pools.is_test is False or zone != "UTC"])
            json = ZONES[text]
        elif parameter.kind == "names":
            text = rng.choice(pools.names)
            json = [text]
        else:
            drawn = value(rng, pools, parameter.kind)
            text, json = drawn.text, drawn.json
        wording = wording.replace(slot, text)
        arguments[parameter.name] = json
    return Request(text=wording, call=Call(name=tool.name, arguments=arguments))
