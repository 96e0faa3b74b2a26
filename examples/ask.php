<?php
$labels = implode('&labels=', array_map('urlencode', ['a dog', 'a cat', 'food', 'something else']));
$context = stream_context_create(['http' => [
    'method' => 'POST',
    'header' => ['Content-Type: image/jpeg', 'x-api-key: ' . getenv('KEY')],
    'content' => file_get_contents('examples/images/dog.jpg'),
    'ignore_errors' => true, // so that an error's message can be read
]]);
$answer = json_decode(file_get_contents(getenv('URL') . '?labels=' . $labels, false, $context), true);
print_r($answer['result'] ?? $answer['message']);
