# Rack's static files, for puma, which runs in their folder.
require 'rack'
run Rack::Files.new(Dir.pwd)
